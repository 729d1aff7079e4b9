"""Tokenize texts as CLIP does, and refuse a tokenizer that disagrees with the text tower."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from benchmark.clip.checkpoint import advice, has_tokenizer, one_line, read_json
from benchmark.clip.config import TextConfig
from benchmark.common.constants import END_TOKEN, START_TOKEN
from benchmark.errors import ConfigError, listed

CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast")
SPECIAL = {START_TOKEN, END_TOKEN}
WORD_END = "</w>"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
LEGACY_END = 2  # eos_token_id of old configurations: transformers then reads a text at its highest id


class Tokenizer(Protocol):
    """What the benchmark calls of a tokenizer of transformers; ClipTokenizer has the same."""

    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, texts: Sequence[str], *, verbose: bool = True) -> Mapping[str, list[list[int]]]: ...

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str | None]: ...

    def get_vocab(self) -> dict[str, int]: ...

    def get_added_vocab(self) -> dict[str, int]: ...


class ClipTokenizer:
    """The byte-level BPE of CLIP with its two special tokens and no others.

    It gives the ids of transformers.CLIPTokenizer, whose import takes more than a second.

    Args:
        vocabulary: token to id.
        merges: pairs of tokens, in the order in which they are merged.
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]):
        model = BPE(
            dict(vocabulary), list(merges), unk_token=END_TOKEN, continuing_subword_prefix="",
            end_of_word_suffix=WORD_END, fuse_unk=False,
        )  # fmt: skip
        self._backend = Backend(model)
        self._backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        self._backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        self._backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in sorted(SPECIAL)])
        self.bos_token_id, self.eos_token_id = vocabulary[START_TOKEN], vocabulary[END_TOKEN]
        self._backend.post_processor = processors.RobertaProcessing(
            (END_TOKEN, self.eos_token_id), (START_TOKEN, self.bos_token_id), trim_offsets=False, add_prefix_space=False
        )

    def __call__(self, texts: Sequence[str], *, verbose: bool = True) -> dict[str, list[list[int]]]:
        """Token ids of each text, start and end token included, under "input_ids"."""
        return {"input_ids": [encoding.ids for encoding in self._backend.encode_batch(list(texts))]}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str | None]:
        """The token of each id; None for an id without one."""
        return [self._backend.id_to_token(index) for index in ids]

    def get_vocab(self) -> dict[str, int]:
        """All tokens with their ids."""
        return self._backend.get_vocab()

    def get_added_vocab(self) -> dict[str, int]:
        """The special tokens with their ids."""
        return {START_TOKEN: self.bos_token_id, END_TOKEN: self.eos_token_id}


def read_tokenizer(folder: Path, name: str, text: TextConfig) -> Tokenizer:
    """Read the tokenizer of a checkpoint and compare it with the text tower.

    Raises:
        ConfigError: its files are missing (transformers would make an empty tokenizer) or damaged, or its texts do not
            start and end where the text tower expects it.
    """
    if not has_tokenizer(folder):
        raise ConfigError(f"Backbone '{name}' lacks tokenizer.json, or vocab.json with merges.txt. {advice()}")
    try:
        tokenizer = _clip_tokenizer(folder, name) or _of_transformers(folder)
    except ConfigError:
        raise
    except Exception as error:  # the tokenizers library raises bare ones for a damaged file
        raise ConfigError(
            f"Backbone '{name}': the tokenizer cannot be loaded: {one_line(error)}. Restore its files."
        ) from error
    if problems := list(_problems(tokenizer, text)):
        raise ConfigError(listed(f"Backbone '{name}', tokenizer and config.json", problems))
    return tokenizer


def _of_transformers(folder: Path) -> Tokenizer:
    from transformers import AutoTokenizer  # here, since this import takes more than a second

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _clip_tokenizer(folder: Path, name: str) -> ClipTokenizer | None:
    """The tokenizer if it is CLIP's with no other special tokens; None leaves it to transformers."""
    settings = [
        read_json(folder / file, name)
        for file in ("tokenizer_config.json", "special_tokens_map.json")
        if (folder / file).is_file()
    ]
    if (folder / "added_tokens.json").exists() or not all(map(_is_ordinary, settings)):
        return None
    if (folder / "tokenizer.json").is_file():
        whole = read_json(folder / "tokenizer.json", name)
        if not all(map(_is_special, whole.get("added_tokens", ()))) or whole["model"].get("type") != "BPE":
            return None
        vocabulary, merges = whole["model"]["vocab"], whole["model"]["merges"]
        merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in merges]
    else:
        vocabulary, merges = BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return ClipTokenizer(vocabulary, merges) if vocabulary.keys() >= SPECIAL else None


def _is_ordinary(settings: Mapping) -> bool:
    """Whether a settings file names CLIP's class and special tokens, and no others."""
    tokens = {key: value for key, value in settings.items() if key.endswith("_token") and value is not None}
    start = tokens.pop("bos_token", START_TOKEN)
    more = [*(settings.get("added_tokens_decoder") or {}).values()]
    return (
        settings.get("tokenizer_class", CLASSES[0]) in CLASSES
        and not any(settings.get(key) for key in ("auto_map", "additional_special_tokens", "extra_special_tokens"))
        and all(map(_is_special, [start, *tokens.values(), *more]))
        and _content(start) == START_TOKEN
        and all(_content(token) == END_TOKEN for token in tokens.values())
    )


def _content(token: object) -> object:
    return token.get("content") if isinstance(token, Mapping) else token


def _is_special(token: object) -> bool:
    """Whether a token is CLIP's start or end token, cut out of a text as ClipTokenizer does it."""
    flags = ("normalized", "lstrip", "rstrip", "single_word")
    return _content(token) in SPECIAL and not (isinstance(token, Mapping) and any(map(token.get, flags)))


def _problems(tokenizer: Tokenizer, text: TextConfig) -> Iterator[str]:
    """How a tokenizer and the configuration of a text tower disagree."""
    start, end, stated = tokenizer.bos_token_id, tokenizer.eos_token_id, text.eos_token_id
    ids = tokenizer(["a"], verbose=False)["input_ids"][0]
    if start is None or end is None or (ids[0], ids[-1]) != (start, end):
        yield f"the text 'a' becomes the tokens {ids}, which do not begin with a start and finish with an end token"
        return
    highest = max(tokenizer.get_vocab().values())
    if highest >= text.vocab_size:
        yield f"the tokenizer's ids go up to {highest}, but text_config.vocab_size is {text.vocab_size}"
    if stated == LEGACY_END and end not in (highest, LEGACY_END):
        yield (
            f"text_config.eos_token_id is {LEGACY_END}, by which a text is read at its highest id, but the end token "
            f"{end} is not the tokenizer's highest, {highest}; state the end token's id"
        )
    # An id beyond the vocabulary is a default left behind by a smaller tokenizer; no text contains it.
    if isinstance(stated, int) and stated not in (LEGACY_END, end) and stated < text.vocab_size:
        yield f"text_config.eos_token_id is {stated}, where texts are read, but they end with token {end}"
