"""Where archives are listed: a repository of the Hugging Face hub, or a folder of this machine.

Requests are huggingface_hub's own, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HOME count as everywhere.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from benchmark.data.download.transfer import Archive, Say, SourceError, patiently
from benchmark.errors import DataError

REPOSITORY = "zhengli97/prompt_learning_dataset"  # a model repository; one zip a dataset, CoOp's split files in it
SUFFIX = ".zip"  # of an archive that holds a whole dataset
SUFFIXES = (SUFFIX, ".tar.gz", ".tgz")  # of those that can be unpacked


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where archives come from: a repository at a revision, or else (revision None) a folder or the authors."""

    name: str
    revision: str | None
    archives: tuple[Archive, ...]


def list_folder(folder: Path, *, name: str = "", revision: str | None = None) -> Source:
    """The archives that lie in a folder.

    Raises:
        DataError: there is no such folder.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES) and path.is_file())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); give a folder of archives.") from error
    archives = tuple(Archive(name=path.name, size=path.stat().st_size, path=path) for path in paths)
    return Source(name=name or str(folder), revision=revision, archives=archives)


def list_hub(repository: str, *, say: Say) -> Source:
    """The archives of a model repository at the commit that its main branch is at now.

    In offline mode, what the local cache of the hub holds of it.

    Args:
        say: is told why it waits.
    Raises:
        SourceError: the hub cannot be reached, refuses, or lists nothing of use.
        DataError: offline mode is on, and nothing is cached.
    """
    api = HfApi()
    try:
        info = patiently(
            lambda: api.model_info(repository, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT),
            what=f"{api.endpoint}: the list of {repository}",
            say=say,
            first=True,
        )
    except OfflineModeIsEnabled as error:
        return _list_cache(repository, error)
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(f"{api.endpoint}: answers with no list of {repository} ({error}).", "Is it a hub?") from error
    files = [file for file in info.siblings or () if file.rfilename.lower().endswith(SUFFIX) and file.size is not None]
    if not files or not info.sha:
        raise SourceError(f"{api.endpoint}: {repository} holds no {SUFFIX} file any more.")
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
                address=hf_hub_url(repository, file.rfilename, revision=info.sha, endpoint=api.endpoint),
            )
        )
    return Source(name=repository, revision=info.sha, archives=tuple(archives))


def _list_cache(repository: str, error: Exception) -> Source:
    try:
        folder = Path(snapshot_download(repository, allow_patterns=[f"*{SUFFIX}"], local_files_only=True))
        if (source := list_folder(folder, name=repository, revision=folder.name)).archives:
            return source
    except (LocalEntryNotFoundError, DataError):
        pass
    raise DataError(
        f"Offline mode (HF_HUB_OFFLINE) is on, and the local cache of the hub holds no archive of {repository}. "
        "Unset HF_HUB_OFFLINE, or give --from FOLDER with archives fetched elsewhere."
    ) from error
