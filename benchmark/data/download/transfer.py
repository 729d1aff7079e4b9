"""Fetching an archive over a line that may fail: cut off and taken up again, held back and waited for, then checked.

Requests are huggingface_hub's own, so HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT and proxies count as everywhere.
The writing to disk is ours: hf_hub_download of huggingface_hub 2 throws away what a killed process had fetched, and
keeps a second copy of archives that are of no use once they are unpacked.
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

GROWING = "fetching-"  # begins the names of the folders in which archives grow
TRIES = 4  # in a row without one byte more
FIRST_TRIES = 2  # of a server that was not heard of yet: a dead one is told in seconds
LONGEST_WAIT = 300  # seconds, that a server may ask for; who is told to wait longer is told so and may come back
CHUNK = 1 << 16  # bytes written at a time; a line that goes dead loses as many at most
GO_ON = "The same command goes on from what is there."

Say = Callable[[str], None]


class SourceError(DataError):
    """A source does not give what was asked of it; another one may.

    Attributes:
        problem: a sentence that leaves out what to do about it.
    """

    def __init__(self, problem: str, remedy: str = ""):
        super().__init__(f"{problem} {remedy}".rstrip())
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One archive.

    Attributes:
        name: of its file.
        size: in bytes.
        sha256, md5: as its source says or the catalogue knows; empty where unknown.
        content: what tells this content from another under the same name; empty for a file in a folder.
        path: where it lies whole on this machine, or None.
        inside: its path in a repository of the hub; empty for one from elsewhere.
        address: where it is fetched from.
    """

    name: str
    size: int
    sha256: str = ""
    md5: str = ""
    content: str = ""
    path: Path | None = None
    inside: str = ""
    address: str = ""

    def growing(self, folder: Path) -> Path:
        """The file in a folder that it is fetched into; of another content, another one."""
        return folder / f"{GROWING}{self.content[:16]}" / self.name


def fetch(archive: Archive, folder: Path, *, say: Say) -> Path:
    """The file of an archive: where it lies already, or fetched into a folder, going on from what a former call left.

    Raises:
        SourceError: it cannot be had, or is not what it should be; then none of it is kept.
        DataError: it cannot be written.
        Terminated: somebody asked to end; what came is kept.
    """
    if archive.path is None:
        path = archive.growing(folder)
        for other in folder.glob(f"{GROWING}*"):
            if other != path.parent and (other / archive.name).is_file():
                shutil.rmtree(other, ignore_errors=True)  # of a content that its source has no more
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tqdm(desc=archive.name, total=archive.size, unit="B", unit_scale=True, disable=_is_quiet()) as bar:
                patiently(
                    lambda: _get(archive, path, bar),
                    what=f"{archive.name} of the hub" if archive.inside else archive.address,
                    say=say,
                    reached=lambda: size_of(path),
                    on_hub=bool(archive.inside),
                )
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}). Free space. {GO_ON}") from error
    else:
        path = archive.path
    _check(archive, path)
    return path


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def size_at(address: str, *, say: Say) -> int:
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

    length = patiently(ask, what=address, say=say, first=True, on_hub=False)
    if not length.isdigit():
        raise SourceError(f"{address} does not say how large it is.", "Fetch it by other means and give --from FOLDER.")
    return int(length)


def _check(archive: Archive, path: Path) -> None:
    """Compare a file with the checksums that are known of it; what was fetched and is another is thrown away."""
    for kind, wanted in (("sha256", archive.sha256), ("md5", archive.md5)):
        if not wanted or (found := digest_of(path, kind)) == wanted:
            continue
        if path != archive.path:
            shutil.rmtree(path.parent)
        raise SourceError(
            f"{archive.name} is damaged or another file: {kind} {found[:16]}... where {wanted[:16]}... is known of it.",
            f"Put another copy in the place of {path}." if path == archive.path else "It was deleted.",
        )


def _headers(*, on_hub: bool) -> dict[str, str]:
    """Of a request; nobody but the hub is shown the user's token, and nobody packs the bytes once more."""
    return build_hf_headers(token=None if on_hub else False) | {"Accept-Encoding": "identity"}


def _raise_for_status(response) -> None:
    if response.is_error:
        response.read()  # what the server says of it
    hf_raise_for_status(response)


def _get(archive: Archive, path: Path, bar: tqdm) -> None:
    """Append what a file lacks, in one request; HTTPError if that did not make it whole."""
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
        if response.status_code != 206:  # the whole file, whatever was asked for
            have = 0
        with open(path, "ab" if have else "wb") as file:
            for chunk in response.iter_raw(CHUNK):  # as they are: some servers call a .tar.gz a packed .tar
                shutdown.check()
                have += len(chunk)
                if have > size:
                    break
                file.write(chunk)
                bar.update(have - bar.n)
    if have > size:
        path.unlink()
        raise SourceError(f"{archive.address}: more bytes came than the {size} announced; nothing of it was kept.")
    if have < size:
        raise HTTPError(f"the connection ended after {have} of {size} bytes")


def patiently(
    request: Callable,
    *,
    what: str,
    say: Say,
    reached: Callable[[], int] = lambda: 0,
    first: bool = False,
    on_hub: bool = True,
):
    """What a request returns, asked again where that may help: too many requests, a server or a line that failed.

    Args:
        what: is asked for, as messages name it.
        reached: how far it came; whoever comes further may try as often again.
        first: whether the server was not heard of yet; where nothing answers, it is soon given up.
        on_hub: whether the hub is asked, which has mirrors and takes tokens.
    Raises:
        SourceError: it did not help, or could not.
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
                raise SourceError(f"{what} {_short(error)}.", remedy if first else f"{remedy} {GO_ON}") from error
            say(f"{what} {_short(error)}; trying again in {wait} s.")
        for _ in range(wait):
            shutdown.check()
            time.sleep(1)


def _wait_for(error: HTTPError, tries: int) -> int | None:
    """Seconds until it may be asked again: as the server says, else longer each time; None if that would not help."""
    ordinary = 2 ** (tries - 1)
    if not isinstance(error, HfHubHTTPError):
        return ordinary
    status, headers = error.response.status_code, error.response.headers
    if status not in (408, 429) and status < 500:
        return None
    told = headers.get("Retry-After", "").strip()
    if told.isdigit():
        return int(told)
    limit = parse_ratelimit_headers(headers)
    return math.ceil(limit.reset_in_seconds) if status == 429 and limit and not limit.remaining else ordinary


def _short(error: HTTPError) -> str:
    """What went wrong, in a few words."""
    if not isinstance(error, HfHubHTTPError):
        return f"cannot be had ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    status = error.response.status_code
    if status == 429:
        return "is held back: too many requests (429)"
    answers = {401: "is refused", 403: "is refused", 404: "is not there", 410: "is not there"}
    return f"{answers.get(status, 'is answered with an error')} ({status})"


def _remedy(error: HTTPError, wait: int | None, *, on_hub: bool) -> str:
    """What to do about it."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 429 and wait is not None and wait > LONGEST_WAIT:
        return f"{wait} s are to be waited: come back then{'; a token (HF_TOKEN) may help' if on_hub else ''}."
    if not on_hub:
        return "Connect or wait; or fetch it by other means and give --from FOLDER."
    if status in (401, 403):
        return "Log in with `hf auth login` or set HF_TOKEN, or give --from FOLDER."
    if status in (404, 410):
        return "Look at HF_ENDPOINT, or give --from FOLDER."
    return "Connect, wait, or set HF_ENDPOINT to a mirror; or give --from FOLDER."


def _is_quiet() -> bool:
    return not sys.stderr.isatty()
