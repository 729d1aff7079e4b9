"""Download a checkpoint from the Hugging Face hub, or find it in the local cache."""

from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from benchmark.clip.checkpoint import (
    INDEX,
    WEIGHTS,
    check_complete,
    has_tokenizer,
    parts_of,
    weight_candidates,
    weight_files,
)
from benchmark.clip.config import read_config
from benchmark.errors import ConfigError

# Downloaded before the weights. Names, not *.json: other models may be in folders below.
SMALL_FILES = (
    "config.json", "open_clip_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "adapter_config.json", f"*{INDEX}",
)  # fmt: skip


def snapshot(name: str, *, fetch: bool) -> Path | None:
    """The cached folder of a repository; None if it is not complete there and may not be downloaded.

    Raises:
        ConfigError: the repository cannot be downloaded, or is not a complete CLIP.
    """
    if HF_HUB_CACHE.startswith("~"):  # else the downloads go to a folder of this name
        raise ConfigError("The home folder is not known, nor is the hub's cache. Set HOME, or HF_HOME to a folder.")
    try:
        folder = _download(name, fetch=fetch)
    except LocalEntryNotFoundError as error:
        if not fetch:
            return None
        raise ConfigError(
            f"Backbone '{name}' is not in the local cache and the hub cannot be reached. Connect, set HF_ENDPOINT to a "
            "mirror, or give the folder of a downloaded checkpoint."
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise ConfigError(f"Backbone '{name}' is neither a folder nor a hub id that can be read: {error}") from error
    if not fetch and not (weight_files(folder, name) and has_tokenizer(folder)):
        return None
    check_complete(folder, name)
    return folder


def _download(name: str, *, fetch: bool) -> Path:
    """Get the files that are read; the small ones first, since they may show that the repository is not a CLIP."""
    get = partial(snapshot_download, name, local_files_only=not fetch)
    folder = Path(get(allow_patterns=list(SMALL_FILES)))
    read_config(folder, name)
    same = partial(get, revision=folder.name)  # a snapshot's folder is named by its commit
    for candidate in weight_candidates(folder, name):
        same(allow_patterns=[candidate])
        if (folder / candidate).is_file():
            same(allow_patterns=parts_of(folder, candidate, name))
            break
    return folder


def bytes_on_hub(name: str, *, timeout: float) -> int:
    """Bytes that locate_checkpoint would download of a repository that is not in the cache.

    Raises:
        ConfigError: the hub does not answer within `timeout` seconds, or has no such readable repository.
    """
    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=timeout).siblings or ()
    except (HfHubHTTPError, HFValidationError) as error:
        raise ConfigError(f"Backbone '{name}' is neither a folder nor a hub id that can be read: {error}") from error
    except Exception as error:  # of the HTTP client that the hub's library uses
        raise ConfigError(
            f"Backbone '{name}' is not in the local cache and the hub cannot be reached ({type(error).__name__}). "
            f"Connect, or fetch it where there is a network with `hf download {name} --local-dir FOLDER`, and give "
            "--backbone FOLDER."
        ) from error
    sizes = {file.rfilename: file.size or 0 for file in files}
    wanted = {file for file in sizes for pattern in SMALL_FILES if fnmatch(file, pattern)}
    for weights in WEIGHTS:
        stem, _, suffix = weights.rpartition(".")
        if parts := [file for file in sizes if file == weights or fnmatch(file, f"{stem}-*-of-*.{suffix}")]:
            return sum(sizes[file] for file in wanted.union([weights] if weights in parts else parts))
    raise ConfigError(
        f"Backbone '{name}': the hub has no {' or '.join(WEIGHTS)} of it. Take a CLIP in Hugging Face layout."
    )
