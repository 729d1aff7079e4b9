"""Train the embedded checkpoint's tokenizer: CLIP's byte-pair encoding, with one token per word of the captions."""

import json
from pathlib import Path

from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTokenizer

from benchmark.common.constants import CONTEXT_LENGTH, END_TOKEN, START_TOKEN
from benchmark.data.synthetic.captions import vocabulary

SUFFIX = "</w>"  # ends the last token of a word


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """Train on the captions' words, save CLIP's two files to a folder, and return the tokenizer loaded from there.

    Ids follow CLIP's vocabulary: all bytes, all bytes at the end of a word, the merges, start, end. So any text has
    tokens, and the end token has the highest id.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    blank = CLIPTokenizer(vocab={START_TOKEN: 0, END_TOKEN: 1}, merges=[])
    trainer = trainers.BpeTrainer(
        vocab_size=8192,
        special_tokens=[START_TOKEN, END_TOKEN],
        initial_alphabet=alphabet,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    words = [word for word in vocabulary() for _ in range(2)]  # a pair must occur twice to be merged
    blank.backend_tokenizer.train_from_iterator(words, trainer)
    merges = [tuple(pair) for pair in json.loads(blank.backend_tokenizer.to_str())["model"]["merges"]]
    inner = [*alphabet, *(letter + SUFFIX for letter in alphabet), *("".join(pair) for pair in merges)]
    tokens = [*inner, START_TOKEN, END_TOKEN]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT_LENGTH)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))
    return CLIPTokenizer.from_pretrained(folder)
