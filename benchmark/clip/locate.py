"""Find the folder of a checkpoint, on this machine or on the hub, and hash the files that its features depend on."""

import hashlib
import json
import re
from pathlib import Path

from benchmark.clip.checkpoint import check_complete, read_normalisation, weight_files
from benchmark.clip.config import read_config
from benchmark.clip.tokenizer import read_tokenizer
from benchmark.common import provenance
from benchmark.common.constants import CLIP_MEAN, CLIP_STD, END_TOKEN, START_TOKEN
from benchmark.common.files import expand
from benchmark.errors import ConfigError

OPENAI = {  # names of OpenAI's code, lowercase and with "-" for "/" -> the same weights on the hub
    "vit-b-32": "openai/clip-vit-base-patch32",
    "vit-b-16": "openai/clip-vit-base-patch16",
    "vit-l-14": "openai/clip-vit-large-patch14",
    "vit-l-14@336px": "openai/clip-vit-large-patch14-336",
}
RESNETS = ("rn50", "rn101", "rn50x4", "rn50x16", "rn50x64")


def locate_checkpoint(name_or_path: str | Path, *, fetch: bool) -> Path | None:
    """The folder of a checkpoint: a local one, or the hub's in the local cache, downloaded on request.

    Returns None for a hub id that is not complete in the cache and may not be downloaded. Whatever is not a CLIP is
    refused before its weights are downloaded, and only the weight files that transformers reads are downloaded.

    Raises:
        ConfigError: a path that is not a folder, a hub id that cannot be downloaded, or an incomplete CLIP.
    """
    name = str(name_or_path)
    local = expand(name)
    if local.is_dir():
        read_config(local, name)
        check_complete(local, name)
        return local
    if message := _other_name(name):
        raise ConfigError(f"Backbone '{name}': {message}")
    if local.exists() or name.startswith((".", "/", "~")):
        found = "this is a file" if local.exists() else "there is no such folder"
        raise ConfigError(f"Backbone '{name}': {found}. Give a folder with config.json or a hub id.")
    from benchmark.clip.hub import snapshot  # here: a plan on a local checkpoint needs no HTTP client

    return snapshot(name, fetch=fetch)


def _other_name(name: str) -> str | None:
    """What to give instead of a web address, a name or a file of OpenAI's code, or a name that cannot be a hub id."""
    if url := re.match(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/?#]+/[^/?#]+)", name, re.IGNORECASE):
        return f"this is a web address; its hub id is {url[1]}. Give that."
    if "://" in name:
        return "this is a web address. Give a folder with config.json or a hub id, which is OWNER/NAME."
    theirs = (Path(name).stem if name.endswith(".pt") else name).lower().replace("/", "-").removesuffix("-quickgelu")
    if theirs in OPENAI:
        return f"OpenAI's code calls it so; its hub id is {OPENAI[theirs]}. Give that."
    if theirs in RESNETS:
        return f"this is a ResNet, and only vision transformers fit here. Give {OPENAI['vit-b-16']}, say."
    if "/" not in name and not Path(name).exists():
        return "there is no such folder, and a hub id is OWNER/NAME. Give one of the two (docs/backbones.md)."
    return None


def checkpoint_hash(folder: Path) -> str:
    """16 hexadecimal digits that identify everything a feature depends on.

    They cover the configuration, the weights and the tokenizer, and the normalization and the special tokens if these
    differ from CLIP's.
    """
    name = str(folder)
    files = ["config.json", *weight_files(folder, name), "vocab.json", "merges.txt", "tokenizer.json"]
    digest = provenance.sha256_folder(folder, files)
    unusual: dict[str, object] = {}
    if (normalisation := read_normalisation(folder, name)) != (CLIP_MEAN, CLIP_STD):
        unusual["normalisation"] = normalisation
    added = read_tokenizer(folder, name, read_config(folder, name).text_config).get_added_vocab()
    if added.keys() != {START_TOKEN, END_TOKEN}:
        unusual["tokens"] = added
    if unusual:
        digest = hashlib.sha256(f"{digest} {json.dumps(unusual, sort_keys=True)}".encode()).hexdigest()
    return digest[:16]
