"""Where a checkpoint lies, here or on the hub, and the hash that names what it computes."""

import hashlib
import json
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from benchmark.clip.checkpoint import (
    INDEX,
    WEIGHTS,
    check_complete,
    has_tokenizer,
    parts_of,
    read_config,
    read_normalisation,
    read_tokenizer,
    weight_candidates,
    weight_files,
)
from benchmark.common import provenance
from benchmark.common.constants import CLIP_MEAN, CLIP_STD, END_TOKEN, START_TOKEN
from benchmark.errors import ConfigError

# Of a repository, before anything large is fetched. Names, not *.json: other models may lie in folders below.
SMALL_FILES = (
    "config.json", "open_clip_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "adapter_config.json", f"*{INDEX}",
)  # fmt: skip
OPENAI = {  # what OpenAI's code calls a model, in small letters and with "-" for "/" -> the same weights on the hub
    "vit-b-32": "openai/clip-vit-base-patch32",
    "vit-b-16": "openai/clip-vit-base-patch16",
    "vit-l-14": "openai/clip-vit-large-patch14",
    "vit-l-14@336px": "openai/clip-vit-large-patch14-336",
}
RESNETS = ("rn50", "rn101", "rn50x4", "rn50x16", "rn50x64")


def locate_checkpoint(name_or_path: str | Path, *, fetch: bool) -> Path | None:
    """The folder of a checkpoint: a local one, or the hub's in the local cache, fetched into it if wanted.

    Returns None for a hub id that is not whole in the cache and may not be fetched. What is no CLIP is refused before
    its weights are fetched, and of several weight files only those that transformers reads are.

    Raises:
        ConfigError: a path that is no folder, a hub id that cannot be fetched, or not a whole CLIP.
    """
    name = str(name_or_path)
    local = Path(name).expanduser()
    if local.is_dir():
        read_config(local, name)
        check_complete(local, name)
        return local
    if told := _other_name(name):
        raise ConfigError(f"Backbone '{name}': {told}")
    if local.exists() or name.startswith((".", "/", "~")):
        found = "this is a file" if local.exists() else "there is no such folder"
        raise ConfigError(f"Backbone '{name}': {found}. Give a folder with config.json or a hub id.")
    try:
        folder = _from_hub(name, fetch=fetch)
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


def _other_name(name: str) -> str | None:
    """What to give instead of a name or a file of OpenAI's code, and of what can be no hub id."""
    theirs = (Path(name).stem if name.endswith(".pt") else name).lower().replace("/", "-").removesuffix("-quickgelu")
    if theirs in OPENAI:
        return f"OpenAI's code calls it so; its hub id is {OPENAI[theirs]}. Give that."
    if theirs in RESNETS:
        return f"this is a ResNet, and only vision transformers fit here. Give {OPENAI['vit-b-16']}, say."
    if "/" not in name and not Path(name).exists():
        return "there is no such folder, and a hub id is OWNER/NAME. Give one of the two (docs/backbones.md)."
    return None


def _from_hub(name: str, *, fetch: bool) -> Path:
    """The snapshot of a repository with all that is read of it; small files first, for they may refuse the rest."""
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
    """How much locate_checkpoint would fetch of a repository of which nothing is here.

    Raises:
        ConfigError: the hub does not answer in so many seconds, or knows nothing of this name that may be read.
    """
    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=timeout).siblings or ()
    except (HfHubHTTPError, HFValidationError) as error:
        raise ConfigError(f"Backbone '{name}' is neither a folder nor a hub id that can be read: {error}") from error
    except Exception as error:  # of whichever HTTP client the hub's library stands on
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


def checkpoint_hash(folder: Path) -> str:
    """16 hexadecimal digits of all that decides a feature.

    They are those of the files that are read, with what other files say where it is not CLIP's ordinary: another mean
    or deviation, tokens beside the start and the end that are cut out of texts whole.
    """
    name = str(folder)
    files = ["config.json", *weight_files(folder, name), "vocab.json", "merges.txt", "tokenizer.json"]
    digest = provenance.sha256_folder(folder, files)
    unusual: dict[str, object] = {}
    if (normalisation := read_normalisation(folder, name)) != (CLIP_MEAN, CLIP_STD):
        unusual["normalisation"] = normalisation
    added = read_tokenizer(folder, name, read_config(folder, name)).get_added_vocab()
    if added.keys() != {START_TOKEN, END_TOKEN}:
        unusual["tokens"] = added
    if unusual:
        digest = hashlib.sha256(f"{digest} {json.dumps(unusual, sort_keys=True)}".encode()).hexdigest()
    return digest[:16]
