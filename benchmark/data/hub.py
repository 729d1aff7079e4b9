"""Archives in a repository of the Hugging Face hub: what it holds, and fetching a file of it, cut off or not.

Requests are huggingface_hub's own, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HOME and proxies count as everywhere.
The writing to disk is ours: hf_hub_download of huggingface_hub 2 throws away what a killed process had fetched, and
keeps a second copy of archives that are of no use once they are unpacked.
"""

import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, parse_ratelimit_headers
from tqdm import tqdm

from benchmark import stopping
from benchmark.errors import DataError
from benchmark.provenance import sha256_file

SUFFIX = ".zip"
GROWING = "fetching-"  # begins the names of the folders in which archives grow
TRIES = 4  # in a row without one byte more
LONGEST_WAIT = 300  # seconds, that a server may ask for; who is told to wait longer is told so and may come back
CHUNK = 1 << 16  # bytes written at a time; a line that goes dead loses as many at most
GO_ON = "The same command goes on from what is there."

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One archive.

    Attributes:
        name: of its file.
        size: in bytes.
        sha256: as the hub says, empty where it does not.
        content: what tells this content from another under the same name; empty for a file in a folder.
        path: where it lies whole on this machine, or None.
        inside: its path in the repository.
    """

    name: str
    size: int
    sha256: str = ""
    content: str = ""
    path: Path | None = None
    inside: str = ""

    def growing(self, folder: Path) -> Path:
        """The file in a folder that it is fetched into; of another content, another one."""
        return folder / f"{GROWING}{self.content[:16]}" / self.name


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where archives come from: a repository at a revision, or a folder of this machine (revision None)."""

    name: str
    revision: str | None
    archives: tuple[Archive, ...]


def list_folder(folder: Path, *, name: str = "", revision: str | None = None) -> Source:
    """The archives that lie in a folder.

    Raises:
        DataError: there is no such folder, or no archive in it.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and path.is_file())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); give a folder of archives.") from error
    if not paths:
        raise DataError(f"{folder}: holds no {SUFFIX} file; give the folder that the archives lie in.")
    archives = tuple(Archive(name=path.name, size=path.stat().st_size, path=path) for path in paths)
    return Source(name=name or str(folder), revision=revision, archives=archives)


def list_hub(repository: str, *, say: Say) -> Source:
    """The archives of a model repository at the commit that its main branch is at now.

    In offline mode, what the local cache of the hub holds of it.

    Args:
        say: is told why it waits.
    Raises:
        DataError: the hub cannot be reached, refuses, or lists nothing of use.
    """
    api = HfApi()
    try:
        info = _patiently(
            lambda: api.model_info(repository, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT),
            what=f"{api.endpoint}: the list of {repository}",
            say=say,
        )
    except OfflineModeIsEnabled as error:
        return _list_cache(repository, error)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{api.endpoint}: answers with no list of {repository} ({error}). Is it a hub?") from error
    files = [file for file in info.siblings or () if file.rfilename.lower().endswith(SUFFIX) and file.size is not None]
    if not files or not info.sha:
        raise DataError(f"{api.endpoint}: {repository} holds no {SUFFIX} file any more. Give --from FOLDER instead.")
    archives = []
    for file in files:
        cached = try_to_load_from_cache(repository, file.rfilename, revision=info.sha)
        sha256 = file.lfs.sha256 if file.lfs else ""
        archives.append(
            Archive(
                name=PurePosixPath(file.rfilename).name,
                size=file.size,
                sha256=sha256,
                content=sha256 or file.blob_id or info.sha,
                path=Path(cached) if isinstance(cached, str) else None,
                inside=file.rfilename,
            )
        )
    return Source(name=repository, revision=info.sha, archives=tuple(archives))


def _list_cache(repository: str, error: Exception) -> Source:
    try:
        folder = Path(snapshot_download(repository, allow_patterns=[f"*{SUFFIX}"], local_files_only=True))
        return list_folder(folder, name=repository, revision=folder.name)
    except (LocalEntryNotFoundError, DataError):
        raise DataError(
            f"Offline mode (HF_HUB_OFFLINE) is on, and the local cache of the hub holds no archive of {repository}. "
            "Unset HF_HUB_OFFLINE, or give --from FOLDER with archives fetched elsewhere."
        ) from error


def fetch(archive: Archive, source: Source, folder: Path, *, say: Say) -> Path:
    """The file of an archive: where it lies already, or fetched into a folder, going on from what a former call left.

    Raises:
        DataError: it cannot be fetched, or is not what the hub says it is; then none of it is kept.
        Terminated: somebody asked to end; what came is kept.
    """
    if archive.path is None:
        path = archive.growing(folder)
        for other in folder.glob(f"{GROWING}*"):
            if other != path.parent and (other / archive.name).is_file():
                shutil.rmtree(other, ignore_errors=True)  # of a content that the repository has no more
        url = hf_hub_url(source.name, archive.inside, revision=source.revision, endpoint=HfApi().endpoint)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tqdm(desc=archive.name, total=archive.size, unit="B", unit_scale=True, disable=_is_quiet()) as bar:
                _patiently(
                    lambda: _get(url, path, archive.size, bar),
                    what=f"{archive.name} of {source.name}",
                    say=say,
                    reached=lambda: size_of(path),
                )
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}). Free space. {GO_ON}") from error
    else:
        path = archive.path
    if archive.sha256 and (found := sha256_file(path)) != archive.sha256:
        if path != archive.path:
            shutil.rmtree(path.parent)
        raise DataError(
            f"{archive.name} is damaged: sha256 {found[:16]}... where the hub says {archive.sha256[:16]}... "
            + (f"Delete {path}." if path == archive.path else "It was deleted; the same command fetches it anew.")
        )
    return path


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _get(url: str, path: Path, size: int, bar: tqdm) -> None:
    """Append what a file lacks, in one request; HTTPError if that did not make it whole."""
    have = size_of(path)
    if have == size:
        return
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if 0 < have < size:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        if response.is_error:
            response.read()  # what the server says of it
        hf_raise_for_status(response)
        if response.status_code != 206:  # the whole file, whatever was asked for
            have = 0
        with open(path, "ab" if have else "wb") as file:
            for chunk in response.iter_bytes(CHUNK):
                stopping.check()
                have += len(chunk)
                if have > size:
                    break
                file.write(chunk)
                bar.update(have - bar.n)
    if have > size:
        path.unlink()
        raise DataError(f"{url}: more bytes came than the {size} that were announced; nothing of it was kept.")
    if have < size:
        raise HTTPError(f"the connection ended after {have} of {size} bytes")


def _patiently(request: Callable, *, what: str, say: Say, reached: Callable[[], int] = lambda: 0):
    """What a request returns, asked again where that may help: too many requests, a server or a line that failed.

    Args:
        what: is asked for, as messages name it.
        reached: how far it came; whoever comes further may try as often again.
    Raises:
        DataError: it did not help, or could not.
    """
    tries, furthest = 0, reached()
    while True:
        try:
            return request()
        except HTTPError as error:  # of the client below huggingface_hub; HfHubHTTPError is one
            stopping.check()
            tries, furthest = (tries if reached() <= furthest else 0) + 1, max(reached(), furthest)
            wait = _wait_for(error, tries)
            if wait is None or wait > LONGEST_WAIT or tries >= TRIES:
                raise DataError(f"{what} {_explain(error, wait)}") from error
            say(f"{what} {_short(error)}; trying again in {wait} s.")
        for _ in range(wait):
            stopping.check()
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
    return "is held back: too many requests (429)" if status == 429 else f"is answered with an error ({status})"


def _explain(error: HTTPError, wait: int | None) -> str:
    """What went wrong and what to do."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403):
        return f"is refused ({status}). Log in with `hf auth login` or set HF_TOKEN, or give --from FOLDER."
    if status in (404, 410):
        return f"is not there ({status}). Look at HF_ENDPOINT, or give --from FOLDER."
    if status == 429 and wait is not None and wait > LONGEST_WAIT:
        return f"{_short(error)[:-6]}, and {wait} s are to be waited. Come back then; a token (HF_TOKEN) may help."
    return f"{_short(error)}. Connect, wait, or set HF_ENDPOINT to a mirror; or give --from FOLDER. {GO_ON}"


def _is_quiet() -> bool:
    return not sys.stderr.isatty()
