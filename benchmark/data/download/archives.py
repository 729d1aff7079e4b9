"""Zip and gzipped tar read alike: what stands in an archive, and the bytes of each file, in the archive's order."""

import contextlib
import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from benchmark.errors import DataError

MOST_RATIO = 20  # bytes out of each byte of the archive; pictures give 1, deflate can give 1000
MARGIN = 1 << 20  # bytes that a tar may have beyond that: its headers and padding are long where files are few
MOST_AT_ONCE = 1 << 24  # bytes that one header of a tar may have
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 1  # bit of a zip entry's flags
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
    ValueError,
)  # fmt: skip


class ArchiveError(DataError):
    """An archive that will never become a dataset; a fetched one is thrown away."""


class Entry(NamedTuple):
    """What stands in an archive under a name; a folder is none of its files, and `problem` says why it is refused."""

    name: str
    size: int
    is_folder: bool
    problem: str | None
    handle: zipfile.ZipInfo | tarfile.TarInfo


class Zip:
    """A zip, its index at its end.

    Args:
        size: of the file that it is, or lies in.
    """

    def __init__(self, file: BinaryIO, size: int):
        self.size = size
        self.opened = zipfile.ZipFile(file)

    def entries(self) -> Iterator[Entry]:
        """In the order of the index.

        Raises:
            ArchiveError: several entries share bytes, the kind of bomb whose ratio no single entry shows.
        """
        infos = self.opened.infolist()
        if (packed := sum(info.compress_size for info in infos)) > self.size:
            raise ArchiveError(f"its entries overlap: {packed} bytes of them in a file of {self.size}")
        for info in infos:
            yield Entry(info.orig_filename, info.file_size, info.is_dir(), self._problem(info), info)

    def open(self, entry: Entry) -> BinaryIO:
        """Its bytes, at most as many as it declares."""
        return self.opened.open(entry.handle)

    def _problem(self, info: zipfile.ZipInfo) -> str | None:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return "is a link" if kind == stat.S_IFLNK else "is neither file nor folder"
        if info.flag_bits & ENCRYPTED:
            return "is encrypted"
        if info.compress_type not in METHODS:
            return f"is packed by method {info.compress_type}, which is not known here"
        return None


class Tar:
    """A gzipped tar. It has no index: listing it unpacks all of it once, in memory and piece by piece.

    Args:
        size: of the file that it is, or lies in.
    """

    def __init__(self, file: BinaryIO, size: int):
        self.size = size
        self.stream = _Bounded(file, limit=MOST_RATIO * size + MARGIN)
        self.opened = tarfile.TarFile(fileobj=self.stream)

    def entries(self) -> Iterator[Entry]:
        """In the order of the archive.

        Raises:
            TarError, OSError, EOFError: it is damaged, or cut off.
        """
        for info in self.opened:
            if info.size < 0:
                raise tarfile.ReadError("a size below zero")
            yield Entry(info.name, info.size, info.isdir(), self._problem(info), info)
        while rest := self.stream.read(MOST_AT_ONCE):  # to the checksum at the end of the stream
            if any(rest):
                raise tarfile.ReadError("a header cannot be read")  # which tarfile takes for the end

    def open(self, entry: Entry) -> BinaryIO:
        """Its bytes, at most as many as it declares; cheap only in the order of the archive."""
        return self.opened.extractfile(entry.handle)

    def _problem(self, info: tarfile.TarInfo) -> str | None:
        if info.issym() or info.islnk():
            return "is a link"
        return None if info.isdir() or (info.isreg() and not info.issparse()) else "is neither file nor folder"


class _Bounded(gzip.GzipFile):
    """Never gives more than a limit, nor so much at once that memory would fill, whatever headers declare."""

    def __init__(self, file: BinaryIO, *, limit: int):
        super().__init__(fileobj=file, mode="rb")
        self.limit = limit

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        content = super().read(size)
        self._check(self.tell())
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check(offset)
        return super().seek(offset, whence)

    def _check(self, position: int) -> None:
        if position > self.limit:
            raise ArchiveError(f"it would become more than {MOST_RATIO} times its size")


@contextlib.contextmanager
def opened(file: BinaryIO, name: str, size: int) -> Iterator[Zip | Tar]:
    """An archive of either kind, told apart by its name."""
    archive = (Zip if name.lower().endswith(".zip") else Tar)(file, size)
    with archive.opened:
        yield archive
