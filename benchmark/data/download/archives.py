"""Read zip and gzipped tar archives through one interface: the entries and the bytes of each file, in order."""

import contextlib
import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from benchmark.errors import DataError

MOST_RATIO = 20  # unpacked bytes per byte of the archive; images give 1, deflate can give 1000
MARGIN = 1 << 20  # bytes that a tar may have in addition: with few files, headers and padding dominate
MOST_AT_ONCE = 1 << 24  # bytes that one header of a tar may have
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 1  # bit of a zip entry's flags
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
    ValueError,
)  # fmt: skip


class ArchiveError(DataError):
    """An archive that cannot become a dataset; a downloaded one is deleted."""


class Entry(NamedTuple):
    """A file or folder in an archive; `problem` says why it is refused."""

    name: str
    size: int
    is_folder: bool
    problem: str | None
    handle: zipfile.ZipInfo | tarfile.TarInfo


class Zip:
    """A zip archive.

    Args:
        size: of the file, or of the file that contains it.
    """

    def __init__(self, file: BinaryIO, size: int):
        self.size = size
        self.opened = zipfile.ZipFile(file)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in the order of the index.

        Raises:
            ArchiveError: entries overlap, a kind of bomb that no ratio of a single entry reveals.
        """
        infos = self.opened.infolist()
        if (packed := sum(info.compress_size for info in infos)) > self.size:
            raise ArchiveError(f"its entries overlap: {packed} bytes of them in a file of {self.size}")
        for info in infos:
            yield Entry(info.orig_filename, info.file_size, info.is_dir(), self._problem(info), info)

    def open(self, entry: Entry) -> BinaryIO:
        """Open an entry; it gives at most as many bytes as it declares."""
        return self.opened.open(entry.handle)

    def _problem(self, info: zipfile.ZipInfo) -> str | None:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return "is a link" if kind == stat.S_IFLNK else "is neither file nor folder"
        if info.flag_bits & ENCRYPTED:
            return "is encrypted"
        if info.compress_type not in METHODS:
            return f"is compressed by method {info.compress_type}, which is not supported"
        return None


class Tar:
    """A gzipped tar archive. It has no index: listing the entries decompresses all of it, in chunks in memory.

    Args:
        size: of the file, or of the file that contains it.
    """

    def __init__(self, file: BinaryIO, size: int):
        self.size = size
        self.stream = _BoundedGzip(file, limit=MOST_RATIO * size + MARGIN)
        self.opened = tarfile.TarFile(fileobj=self.stream)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in the order of the archive.

        Raises:
            TarError, OSError, EOFError: the archive is damaged or truncated.
        """
        for info in self.opened:
            if info.size < 0:
                raise tarfile.ReadError("a size below zero")
            yield Entry(info.name, info.size, info.isdir(), self._problem(info), info)
        while rest := self.stream.read(MOST_AT_ONCE):  # up to the checksum at the end of the stream
            if any(rest):
                raise tarfile.ReadError("a header cannot be read")  # tarfile would take it for the end of the archive

    def open(self, entry: Entry) -> BinaryIO:
        """Open an entry; it gives at most as many bytes as it declares. Only sequential access is fast."""
        return self.opened.extractfile(entry.handle)

    def _problem(self, info: tarfile.TarInfo) -> str | None:
        if info.issym() or info.islnk():
            return "is a link"
        return None if info.isdir() or (info.isreg() and not info.issparse()) else "is neither file nor folder"


class _BoundedGzip(gzip.GzipFile):
    """Limits the total and the single read, so that no header can fill the memory."""

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
    """Open a zip or a tar, depending on its name."""
    archive = (Zip if name.lower().endswith(".zip") else Tar)(file, size)
    with archive.opened:
        yield archive
