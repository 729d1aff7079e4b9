"""List the archives in a repository of the Hugging Face hub or in a local folder.

Requests go through huggingface_hub, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HOME apply.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoSibling

from benchmark.data.download.transfer import Archive, SourceError, with_retries
from benchmark.errors import DataError

REPOSITORY = "zhengli97/prompt_learning_dataset"  # a model repository; one zip per dataset, including CoOp's split file
SUFFIX = ".zip"  # of an archive with a complete dataset
SUFFIXES = (SUFFIX, ".tar.gz", ".tgz")  # of all archives that can be unpacked


@dataclass(frozen=True, kw_only=True)
class Source:
    """The origin of archives: a repository at a revision, or (revision None) a folder or the datasets' authors."""

    name: str
    revision: str | None
    archives: tuple[Archive, ...]


def list_folder(folder: Path, *, name: str = "", revision: str | None = None) -> Source:
    """List the archives in a folder.

    Raises:
        DataError: there is no such folder.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES) and path.is_file())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); give a folder of archives.") from error
    archives = tuple(Archive(name=path.name, size=path.stat().st_size, path=path) for path in paths)
    return Source(name=name or str(folder), revision=revision, archives=archives)


def list_hub(repository: str) -> Source:
    """List the archives of a model repository at the current commit of its main branch.

    In offline mode, list those in the local cache of the hub.

    Raises:
        SourceError: the hub cannot be reached, refuses the request, or lists no archive.
        DataError: offline mode is on, and nothing is cached.
    """
    api = HfApi()
    try:
        info = with_retries(
            lambda: api.model_info(repository, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT),
            what=f"{api.endpoint}: the list of {repository}",
            first=True,
        )
    except OfflineModeIsEnabled as error:
        return _list_cache(repository, error)
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(
            f"{api.endpoint}: does not answer with a list of {repository} ({error}).", "Check HF_ENDPOINT."
        ) from error
    files = [file for file in info.siblings or () if file.rfilename.lower().endswith(SUFFIX) and file.size is not None]
    if not files or not info.sha:
        raise SourceError(f"{api.endpoint}: {repository} contains no {SUFFIX} file any more.")
    archives = tuple(_archive_of(file, info.sha, repository, api.endpoint) for file in files)
    return Source(name=repository, revision=info.sha, archives=archives)


def _archive_of(file: RepoSibling, revision: str, repository: str, endpoint: str) -> Archive:
    cached = try_to_load_from_cache(repository, file.rfilename, revision=revision)
    sha256 = file.lfs.sha256 if file.lfs else ""
    return Archive(
        name=PurePosixPath(file.rfilename).name,
        size=file.size,
        sha256=sha256,
        content=sha256 or file.blob_id or revision,
        path=Path(cached) if isinstance(cached, str) else None,
        inside=file.rfilename,
        address=hf_hub_url(repository, file.rfilename, revision=revision, endpoint=endpoint),
    )


def _list_cache(repository: str, error: Exception) -> Source:
    try:
        folder = Path(snapshot_download(repository, allow_patterns=[f"*{SUFFIX}"], local_files_only=True))
        if (source := list_folder(folder, name=repository, revision=folder.name)).archives:
            return source
    except (LocalEntryNotFoundError, DataError):
        pass
    raise DataError(
        f"Offline mode (HF_HUB_OFFLINE) is on, and the local cache of the hub contains no archive of {repository}. "
        "Unset HF_HUB_OFFLINE, or give --from FOLDER with archives downloaded elsewhere."
    ) from error
