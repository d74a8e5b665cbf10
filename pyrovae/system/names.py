"""Names that are given once in a process."""

from __future__ import annotations

import itertools
from typing import Any, final

_numbers = itertools.count()


@final
class OwnName:
    """A name that no other object has, a deep copy or one that was unpickled included.

    Under a shared one in Pyro's parameter store only one of two models would be trained.

    Args:
        kind: What the name begins with.

    Attributes:
        text: The name.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.text = f"{kind}{next(_numbers)}"

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnName:
        return OwnName(self.kind)

    def __reduce__(self) -> tuple[type[OwnName], tuple[str]]:
        return OwnName, (self.kind,)
