"""Which split a name means: folders and arrays are called train, Val, X_test, ...."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pyrovae.errors import UserError

WORDS = {"train": ("train", "training"), "valid": ("valid", "val", "validation", "dev"), "test": ("test", "testing")}
"""Split -> what it is called, in any case."""

DATA = ("", "x", "images", "data")
LABELS = ("y", "labels", "targets")
"""What stands before or after the split in the name of an array."""


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


_SPLITS = {word: split for split, words in WORDS.items() for word in words}

_ARRAYS = {"x": ("data", "all"), "y": ("labels", "all")} | {
    order: (role, split)
    for role, affixes in (("data", DATA), ("labels", LABELS))
    for affix in affixes
    for word, split in _SPLITS.items()
    for order in (affix + word, word + affix)
}


def split_called(name: str) -> str | None:
    """``train``, ``valid`` or ``test`` where a folder's name means it, else None.

    Example:
        >>> split_called("Val"), split_called("testing"), split_called("cat")
        ('valid', 'test', None)
    """
    return _SPLITS.get(_folded(name))


def array_called(name: str) -> tuple[str, str] | None:
    """What an array's name says that it holds, ``data`` or ``labels``, and of which split, ``all`` where it names none.

    Example:
        >>> array_called("X_val"), array_called("y"), array_called("train_labels"), array_called("weights")
        (('data', 'valid'), ('labels', 'all'), ('labels', 'train'), None)
    """
    return _ARRAYS.get(_folded(name))


def speaks_of_a_split(name: str) -> bool:
    """Whether a word of the name is one for a split, as in ``test_images`` or ``val2017``."""
    return any(word in _SPLITS for word in re.findall("[a-z]+", name.casefold()))


def in_splits(where: str, named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Split -> the name that means it, in the order all, train, valid, test.

    Args:
        where: What holds the names, for the error.
        named: Name and split of each.

    Raises:
        UserError: If two names mean one split.
    """
    found: dict[str, str] = {}
    for name, split in named:
        if split in found:
            raise UserError(None, where, f"has {found[split]} and {name}, two names for one split", "keep one of them")
        found[split] = name
    return {split: found[split] for split in ("all", *WORDS) if split in found}


def check_trainable(where: str, splits: Mapping[str, str], remedy: str) -> None:
    """Refuse splits without training data: what is called a test is never trained on.

    Raises:
        UserError: With the remedy.
    """
    if splits and "train" not in splits:
        raise UserError(None, where, f"has {', '.join(splits.values())} and nothing called train", remedy)
