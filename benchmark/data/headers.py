"""Inspect image files, most of them without decoding pixels: format, size, and whether the file is truncated.

Imports Pillow but not torch, so that the processes that check a million files start quickly.
"""

import contextlib
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import BinaryIO, Literal, NamedTuple

from PIL import Image, features

from benchmark.data.modes import TOPS, peculiarities, to_rgb
from benchmark.errors import DataError

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # open_header raises an error instead
FORMATS = (
    "JPEG",
    "PNG",
    "GIF",
    "WEBP",
    "BMP",
    "PPM",
    "TIFF",
    *["AVIF"] * features.check("avif"),
)  # no others: Pillow would run an EPS file as a program
JPEG_PIXELS, JPEG_END = b"\xff\xda", b"\xff\xd9"  # marker of the pixels, and end marker
ENDS = {"JPEG": JPEG_END, "PNG": b"IEND"}  # a file that ends so is not decoded by default; any other file is
TAIL = 16  # bytes at the end that hold the marker of nearly every complete file
SHORTEST_SIDE, LONGEST_RATIO = 32, 10  # pixels, and ratio of the sides: beyond these an image is reported as odd
CHUNK = 1024  # files that a process takes at once
THREADS = 8  # per process, since files on a network disk have latency
MANY = {False: 16 * CHUNK, True: 2 * CHUNK}  # by `deep`: number of files from which starting processes pays off


class Finding(NamedTuple):
    """Something unusual about a file. A link may be valid, which depends on its target."""

    path: str
    kind: Literal["missing", "unreadable", "odd", "link", "peculiar"]
    text: str = ""


SAVE_AGAIN = "save it again as 8-bit RGB, as .png or .jpg"


def open_header(source: str | BinaryIO) -> Image.Image:
    """Open an image and read its header only; refuse sizes above Pillow's limit, where Pillow itself only warns.

    Raises:
        Image.DecompressionBombError: more pixels than Image.MAX_IMAGE_PIXELS.
    """
    image = Image.open(source, formats=FORMATS)
    if image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{image.width} x {image.height}")
    return image


def inspect_files(
    folder: str, paths: Sequence[str], *, deep: bool, processes: int, advance: Callable[[int], None]
) -> tuple[list[Finding], Counter[str]]:
    """Return the findings on files in a folder, in the order of the paths, and the number of images per format.

    Args:
        deep: decode every image.
        processes: used if there are many files.
        advance: called with the number of files done since the last call.
    """
    findings: list[Finding] = []
    formats: Counter[str] = Counter()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with _mapping(processes if len(paths) >= MANY[deep] else 1) as mapped:
        for chunk, (found, counted) in zip(chunks, mapped(partial(_inspect_chunk, folder, deep), chunks), strict=True):
            findings += found
            formats += counted
            advance(len(chunk))
    return findings, formats


@contextlib.contextmanager
def _mapping(processes: int) -> Iterator[Callable]:
    """Yield map() over processes or the built-in one; processes are spawned, as forking torch's threads is unsafe."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield pool.map


def _inspect_chunk(folder: str, deep: bool, paths: Sequence[str]) -> tuple[list[Finding], Counter[str]]:
    share = -(-len(paths) // THREADS)  # one task per thread: a task per file costs more than reading its header
    parts = [paths[start : start + share] for start in range(0, len(paths), share)]
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda part: [_inspect(folder, deep, path) for path in part], parts))
    files = [file for part in results for file in part]
    return [finding for findings, _ in files for finding in findings], Counter(kind for _, kind in files if kind)


def _inspect(folder: str, deep: bool, path: str) -> tuple[list[Finding], str | None]:
    """Return the findings on one file, and its format if it is a readable image."""
    findings: list[Finding] = []
    file = f"{folder}/{path}"
    try:
        status = os.lstat(file)
        if stat.S_ISLNK(status.st_mode):
            findings.append(Finding(path, "link"))
            status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            return [*findings, Finding(path, "missing", "it is not a file")], None
        kind, (width, height), peculiar = _examine(file, deep)
    except (FileNotFoundError, NotADirectoryError):
        return [*findings, Finding(path, "missing")], None
    except Image.DecompressionBombError as error:
        return [*findings, Finding(path, "unreadable", f"too many pixels, {error}")], None
    except Exception as error:  # Pillow raises many types for a damaged file
        return [*findings, Finding(path, "unreadable", _reason(error))], None
    if min(width, height) < SHORTEST_SIDE or max(width, height) > LONGEST_RATIO * min(width, height):
        findings.append(Finding(path, "odd", f"{width} x {height}"))
    return [*findings, *(Finding(path, "peculiar", text) for text in peculiar)], kind


def _examine(file: str, deep: bool) -> tuple[str, tuple[int, int], list[str]]:
    """Return Pillow's name of an image's format, its width and height, and its peculiarities."""
    with open(file, "rb") as content:
        image = open_header(content)
        kind, size = image.format, image.size
        check_pixels(image, content, ends={} if deep else ENDS)
        return kind, size, list(peculiarities(image))


def check_pixels(image: Image.Image, content: BinaryIO, *, ends: Mapping[str, bytes]) -> None:
    """Decode an opened image, unless its 8-bit format has an end marker in `ends` and the file ends with it.

    Raises:
        Exception: what Pillow raises for a damaged file, or to_rgb for unknown values.
    """
    check_written(image, content)
    if image.mode in TOPS or image.format not in ends or not _has_end(content, ends[image.format]):
        to_rgb(image)


def check_written(image: Image.Image, content: BinaryIO) -> None:
    """Refuse a JPEG whose last part was never written: zeros instead of its end marker, which decoders take for pixels.

    Zeros after the end marker are allowed.

    Raises:
        DataError: the file ends so.
    """
    if image.format not in ("JPEG", "MPO") or _has_end(content, JPEG_END):
        return
    position = content.tell()
    content.seek(0)
    data = content.read()
    content.seek(position)
    # the end marker after the start of the pixels: a preview in the header has one of its own
    if data.endswith(bytes(TAIL)) and data.rfind(JPEG_END) < data.rfind(JPEG_PIXELS):
        raise DataError("its last part is zeros: it was not written completely. Restore the file.")


def _has_end(content: BinaryIO, end: bytes) -> bool:
    """Return whether a file ends with a marker; the file's position stays."""
    position = content.tell()
    content.seek(max(0, os.fstat(content.fileno()).st_size - TAIL))
    found = end in content.read()
    content.seek(position)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error).removesuffix(".")
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not an image; {SAVE_AGAIN}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
