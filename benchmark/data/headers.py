"""Picture files looked at from both ends, without decoding a pixel: kind, size, whether the file was cut off.

Imports nothing heavy: the processes that look at a million files side by side are up at once.
"""

import contextlib
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import BinaryIO, Literal, NamedTuple

from PIL import Image

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # open_header refuses what it warns of
KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM", "TIFF")  # no other: an EPS, whatever its name, is a program to run
JPEG_END = b"\xff\xd9"  # among a whole file's last bytes
ENDS = {"JPEG": JPEG_END, "PNG": b"IEND"}  # what the pixels' bytes of a whole file are followed by
TAIL = 16  # bytes, in which nearly every whole file ends
SHORTEST_SIDE, LONGEST_RATIO = 32, 10  # pixels, and times as wide as high: beyond, a picture is odd
CHUNK = 1024  # files handed to a process at once
THREADS = 8  # of a process: a file on a network disk is waited for
MANY = {False: 16 * CHUNK, True: 2 * CHUNK}  # by `deep`: files from which on other processes are worth their start


class Finding(NamedTuple):
    """What is not ordinary about a file; a link may be sound, which its target decides."""

    path: str
    kind: Literal["missing", "unreadable", "odd", "link"]
    text: str = ""


def open_header(source: str | BinaryIO) -> Image.Image:
    """An image of which the header alone is read, its size within a bound; Pillow only warns up to twice of that."""
    image = Image.open(source, formats=KINDS)
    if image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{image.width} x {image.height}")
    return image


def look_at_all(
    folder: str, paths: Sequence[str], *, deep: bool, processes: int, advance: Callable[[int], None]
) -> tuple[list[Finding], Counter[str]]:
    """What is not ordinary about files below a folder, in their order, and how many there are of each kind.

    Args:
        deep: whether every picture is decoded.
        processes: that look side by side where files are many.
        advance: told of each number of files that are done.
    """
    findings: list[Finding] = []
    kinds: Counter[str] = Counter()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with _mapping(processes if len(paths) >= MANY[deep] else 1) as mapped:
        for chunk, (found, counted) in zip(chunks, mapped(partial(_look_at, folder, deep), chunks), strict=True):
            findings += found
            kinds += counted
            advance(len(chunk))
    return findings, kinds


@contextlib.contextmanager
def _mapping(processes: int) -> Iterator[Callable]:
    """A map() in so many processes, in this one if it is one; they are started afresh, for torch has threads here."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield pool.map


def _look_at(folder: str, deep: bool, paths: Sequence[str]) -> tuple[list[Finding], Counter[str]]:
    share = -(-len(paths) // THREADS)
    parts = [paths[start : start + share] for start in range(0, len(paths), share)]
    findings: list[Finding] = []
    kinds: Counter[str] = Counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for found, counted in pool.map(partial(_look_at_part, folder, deep), parts):
            findings += found
            kinds += counted
    return findings, kinds


def _look_at_part(folder: str, deep: bool, paths: Sequence[str]) -> tuple[list[Finding], Counter[str]]:
    findings: list[Finding] = []
    kinds: Counter[str] = Counter()
    for path in paths:
        file = f"{folder}/{path}"
        try:
            status = os.lstat(file)
            if stat.S_ISLNK(status.st_mode):
                findings.append(Finding(path, "link"))
                status = os.stat(file)
            if not stat.S_ISREG(status.st_mode):
                findings.append(Finding(path, "missing", "it is no file"))
                continue
            kind, (width, height) = _kind_and_size(file, deep)
        except (FileNotFoundError, NotADirectoryError):
            findings.append(Finding(path, "missing"))
        except Image.DecompressionBombError as error:
            findings.append(Finding(path, "unreadable", f"too many pixels, {error}"))
        except Exception as error:  # Pillow raises many kinds for a damaged file
            findings.append(Finding(path, "unreadable", _reason(error)))
        else:
            kinds[kind] += 1
            if min(width, height) < SHORTEST_SIDE or max(width, height) > LONGEST_RATIO * min(width, height):
                findings.append(Finding(path, "odd", f"{width} x {height}"))
    return findings, kinds


def _kind_and_size(file: str, deep: bool) -> tuple[str, tuple[int, int]]:
    """Pillow's name of a picture's kind, its width and height.

    Raises:
        EOFError: the file was cut off.
    """
    with open(file, "rb") as content:
        image = open_header(content)
        kind, size, header = image.format, image.size, content.tell()
        if deep:
            image.load()
        elif kind in ENDS and not _ends_whole(content, ENDS[kind], header):
            raise EOFError("the file was cut off")
        return kind, size


def _ends_whole(content: BinaryIO, end: bytes, header: int) -> bool:
    """Whether the mark that ends pixels follows a header; other bytes may follow it, and some programs add many."""
    content.seek(max(0, os.fstat(content.fileno()).st_size - TAIL))
    if end in content.read():
        return True
    content.seek(header)
    return end in content.read()


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return str(error)
    if isinstance(error, Image.UnidentifiedImageError):
        return "no picture"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
