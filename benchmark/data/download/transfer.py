"""Download an archive: resume interrupted transfers, wait as the server asks, verify the checksum.

Requests go through huggingface_hub, so HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT and proxies apply. The file is written
here: hf_hub_download of huggingface_hub 2 discards what a killed process had downloaded, and keeps a second copy of an
archive that is useless once it is unpacked.
"""

import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, parse_ratelimit_headers
from tqdm import tqdm

from benchmark.common import shutdown
from benchmark.common.provenance import digest_of
from benchmark.errors import DataError

GROWING = "fetching-"  # prefix of the folders of partial downloads
TRIES = 4  # in a row without progress
FIRST_TRIES = 2  # of a server that has not answered yet, so that a dead one is reported within seconds
LONGEST_WAIT = 300  # seconds that a server may ask for; a longer wait becomes an error message
CHUNK = 1 << 16  # bytes written at a time, so at most these are lost when a connection breaks
RESUMES = "The same command resumes the download."


class SourceError(DataError):
    """A source cannot deliver a file; another source may.

    Attributes:
        problem: the message without the advice.
    """

    def __init__(self, problem: str, remedy: str = ""):
        super().__init__(f"{problem} {remedy}".rstrip())
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One archive.

    Attributes:
        name: file name.
        size: in bytes.
        sha256, md5: from the source or the catalog; empty if unknown.
        content: distinguishes contents under the same name; empty for a file in a folder.
        path: of the complete file on this machine, or None.
        inside: its path in a repository of the hub; empty for other sources.
        address: URL to download from.
    """

    name: str
    size: int
    sha256: str = ""
    md5: str = ""
    content: str = ""
    path: Path | None = None
    inside: str = ""
    address: str = ""

    def partial(self, folder: Path) -> Path:
        """Return the file in a folder that it is downloaded into, which differs for each content."""
        return folder / f"{GROWING}{self.content[:16]}" / self.name


def fetch(archive: Archive, folder: Path) -> Path:
    """Return the file of an archive; download it into a folder if needed, resuming an earlier download.

    Raises:
        SourceError: it is not available, or its checksum is wrong; then it is deleted.
        DataError: it cannot be written.
        Terminated: the user asked to stop; the partial file is kept.
    """
    if archive.path is None:
        path = archive.partial(folder)
        for other in folder.glob(f"{GROWING}*"):
            if other != path.parent and (other / archive.name).is_file():
                shutil.rmtree(other, ignore_errors=True)  # a content that the source no longer has
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tqdm(desc=archive.name, total=archive.size, unit="B", unit_scale=True, disable=None) as bar:
                with_retries(
                    lambda: _get(archive, path, bar),
                    what=f"{archive.name} of the hub" if archive.inside else archive.address,
                    reached=lambda: size_of(path),
                    on_hub=bool(archive.inside),
                )
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}). Free space. {RESUMES}") from error
    else:
        path = archive.path
    _check(archive, path)
    return path


def note(text: str) -> None:
    """Print a message to the user above the progress bar."""
    tqdm.write(f"note: {text}", file=sys.stderr)


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def size_at(address: str) -> int:
    """How many bytes a server would send; asked by GET, for servers that redirect to signed addresses refuse HEAD.

    Raises:
        SourceError: it cannot be reached, has no such file, or does not say.
    """

    def ask() -> str:
        with get_session().stream(
            "GET", address, headers=_headers(on_hub=False), timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        ) as response:
            _raise_for_status(response)
            return response.headers.get("Content-Length", "")

    length = with_retries(ask, what=address, first=True, on_hub=False)
    if not length.isdigit():
        raise SourceError(
            f"{address} does not say how large it is.", "Download it by other means and give --from FOLDER."
        )
    return int(length)


def _check(archive: Archive, path: Path) -> None:
    """Verify the known checksums; delete a downloaded file that has another."""
    for kind, wanted in (("sha256", archive.sha256), ("md5", archive.md5)):
        if not wanted or (found := digest_of(path, kind)) == wanted:
            continue
        if path != archive.path:
            shutil.rmtree(path.parent)
        raise SourceError(
            f"{archive.name} is damaged or a different file: its {kind} is {found[:16]}..., expected {wanted[:16]}....",
            f"Replace {path} by another copy." if path == archive.path else "It was deleted.",
        )


def _headers(*, on_hub: bool) -> dict[str, str]:
    """Return request headers: the user's token for the hub only, and no compression of the transfer."""
    return build_hf_headers(token=None if on_hub else False) | {"Accept-Encoding": "identity"}


def _raise_for_status(response) -> None:
    if response.is_error:
        response.read()  # so that the error includes the server's message
    hf_raise_for_status(response)


def _get(archive: Archive, path: Path, bar: tqdm) -> None:
    """Append the missing bytes in one request; HTTPError if the file is still incomplete."""
    have, size = size_of(path), archive.size
    if have == size:
        return
    headers = _headers(on_hub=bool(archive.inside))
    if 0 < have < size:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream(
        "GET", archive.address, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    ) as response:
        _raise_for_status(response)
        if response.status_code != 206:  # the server ignored the range and sends the whole file
            have = 0
        with open(path, "ab" if have else "wb") as file:
            for chunk in response.iter_raw(CHUNK):  # not decoded: some servers declare a .tar.gz as a gzip-encoded .tar
                shutdown.check()
                have += len(chunk)
                if have > size:
                    break
                file.write(chunk)
                bar.update(have - bar.n)
    if have > size:
        path.unlink()
        raise SourceError(f"{archive.address}: sent more than the {size} bytes it announced; the file was deleted.")
    if have < size:
        raise HTTPError(f"the connection ended after {have} of {size} bytes")


def with_retries(
    request: Callable,
    *,
    what: str,
    reached: Callable[[], int] = lambda: 0,
    first: bool = False,
    on_hub: bool = True,
):
    """Return what a request returns; retry it after rate limits, server errors and broken connections.

    Args:
        what: what is requested, for messages.
        reached: returns the progress; each progress resets the number of tries.
        first: the server has not answered before, so fewer tries are made if it does not respond.
        on_hub: the server is the hub, which has mirrors and takes tokens.
    Raises:
        SourceError: retries failed, or cannot help.
    """
    failed, furthest = 0, reached()
    while True:
        try:
            return request()
        except HTTPError as error:  # of the client below huggingface_hub; HfHubHTTPError is one
            shutdown.check()
            failed, furthest = (failed if reached() <= furthest else 0) + 1, max(reached(), furthest)
            wait = _wait_for(error, failed)
            most = FIRST_TRIES if first and not isinstance(error, HfHubHTTPError) else TRIES
            if wait is None or wait > LONGEST_WAIT or failed >= most:
                remedy = _remedy(error, wait, on_hub=on_hub)
                raise SourceError(f"{what} {_short(error)}.", remedy if first else f"{remedy} {RESUMES}") from error
            note(f"{what} {_short(error)}; trying again in {wait} s.")
        for _ in range(wait):
            shutdown.check()
            time.sleep(1)


def _wait_for(error: HTTPError, tries: int) -> int | None:
    """Return seconds to wait: as the server says, else doubling each time; None if a retry cannot help."""
    ordinary = 2 ** (tries - 1)
    if not isinstance(error, HfHubHTTPError):
        return ordinary
    status, headers = error.response.status_code, error.response.headers
    if status not in (408, 429) and status < 500:
        return None
    announced = headers.get("Retry-After", "").strip()
    if announced.isdigit():
        return int(announced)
    limit = parse_ratelimit_headers(headers)
    return math.ceil(limit.reset_in_seconds) if status == 429 and limit and not limit.remaining else ordinary


def _short(error: HTTPError) -> str:
    """Return what went wrong, in a few words."""
    if not isinstance(error, HfHubHTTPError):
        return f"is not available ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    status = error.response.status_code
    if status == 429:
        return "is refused: too many requests (429)"
    answers = {401: "is refused", 403: "is refused", 404: "is not found", 410: "is not found"}
    return f"{answers.get(status, 'fails with a server error')} ({status})"


def _remedy(error: HTTPError, wait: int | None, *, on_hub: bool) -> str:
    """Return what the user can do."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 429 and wait is not None and wait > LONGEST_WAIT:
        return f"Try again in {wait} s{'; a token (HF_TOKEN) may help' if on_hub else ''}."
    if not on_hub:
        return "Check the connection or wait; or download it by other means and give --from FOLDER."
    if status in (401, 403):
        return "Log in with `hf auth login` or set HF_TOKEN, or give --from FOLDER."
    if status in (404, 410):
        return "Check HF_ENDPOINT, or give --from FOLDER."
    return "Check the connection, wait, or set HF_ENDPOINT to a mirror; or give --from FOLDER."
