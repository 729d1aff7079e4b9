"""Name the three lists of a dataset, and say how to rename a user's other names for them."""

import re
from collections.abc import Iterable

PARTS = ("train", "val", "test")
OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


AROUND = (
    "set",
    "data",
    "dataset",
    "images",
    "image",
    "imgs",
    "img",
    "split",
    "seg",
    "folder",
)  # words that add nothing


def meant_part(name: str) -> str | None:
    """Return the list that a name such as 'Train', 'valid', 'training_set' or 'testset' stands for, or None."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word and word not in AROUND]
    word = words[0].removesuffix("set") if len(words) == 1 else ""
    return word if word in PARTS else OTHER_NAMES.get(word)


def renames(names: Iterable[str]) -> dict[str, str]:
    """Return which names to replace by which, so that they are train, val and test; without a test, val becomes it."""
    meanings = {name: part for name in names if (part := meant_part(name))}
    if "test" not in meanings.values():
        meanings = {name: "test" if part == "val" else part for name, part in meanings.items()}
    return {name: part for name, part in meanings.items() if list(meanings.values()).count(part) == 1 and name != part}


def rename_advice(names: Iterable[str]) -> str:
    """Return the renames in words; empty if there are none."""
    changes = [f"'{name}' to '{part}'" for name, part in sorted(renames(names).items())]
    return f"rename {', '.join(changes)}" if changes else ""
