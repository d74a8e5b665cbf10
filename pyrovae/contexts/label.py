"""Labels as context: a class, or several attributes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from pyrovae.contexts.words import listed
from pyrovae.contracts import Context, ContextModule, DataSpec
from pyrovae.errors import UserError, check_integer

MOST = 256
"""Combinations of values that are gone through, at most."""


@final
class LabelEmbedding(ContextModule):
    """e(c) = A^(-1/2) sum_a T_a[c_a]: a learned vector for each value of each of A labels.

    Args:
        spec: The data; their labels are y (N,) where they have classes, y (N, A) where they have attributes.
        chosen: Columns of those that are conditioned on.
        size: C.
    """

    def __init__(self, spec: DataSpec, chosen: Sequence[int], size: int) -> None:
        super().__init__()
        self.labels = labels = spec.labels
        self.is_class = not spec.attributes
        self.chosen = tuple(chosen)
        self.embedding_dim = size
        self.tables = nn.ModuleList(nn.Embedding(len(labels[column].values), size) for column in chosen)
        widest = max(len(labels[column].values) for column in chosen)
        self.register_buffer("seen", torch.zeros(len(chosen), widest, dtype=torch.bool))

    def _columns(self, c: Tensor | None) -> Tensor:
        """The codes that are conditioned on, (*, number of chosen labels)."""
        if c is None:
            raise UserError("a VAE with --context label needs labels: give c, or data that have them")
        return c.unsqueeze(-1) if self.is_class else c[..., list(self.chosen)]

    def forward(self, c: Tensor | None) -> Tensor:
        """Codes c (*,), or (*, A) where a datum has several labels -> (*, C)."""
        codes = self._columns(c).long()
        return sum(table(codes[..., i]) for i, table in enumerate(self.tables)) / math.sqrt(len(self.tables))

    def initialise(self, c: Tensor | None) -> None:
        """Remember which values the training data have."""
        codes = self._columns(c).long().reshape(-1, len(self.chosen)).to(self.seen.device)
        for i in range(len(self.chosen)):
            self.seen[i, codes[:, i].unique()] = True

    def check(self, c: Tensor | None) -> None:
        """Refuse values that no training datum had.

        Raises:
            UserError: Naming the value, how many data have it, and those that there are.
        """
        found = self._unseen(c)
        if found is not None:
            column, code, count = found
            label = self.labels[column]
            other = "use --context none" if len(self.chosen) == 1 else f"leave {label.name} out of --context.attributes"
            raise UserError(
                f"--context label: {self._not_learned(column, code)}; leave out the data that have it, {count} "
                f"here (of olivetti, --data.unknown drop does), or {other}"
            )

    def _not_learned(self, column: int, code: int) -> str:
        label, there = self.labels[column], self.seen[self.chosen.index(column)].tolist()
        known = listed(value for value, seen in zip(label.values, there, strict=False) if seen)
        return (
            f"{label.name} {label.values[code]} has no training data, so its embedding was not learned; the training data have "
            f"{known}"
        )

    def _unseen(self, c: Tensor | None) -> tuple[int, int, int] | None:
        """Column and code of the first value that no training datum had, and how many of these data have it.

        Raises:
            UserError: If a code stands for no value.
        """
        codes = self._columns(c).long().reshape(-1, len(self.chosen)).to(self.seen.device)
        for i, column in enumerate(self.chosen):
            label = self.labels[column]
            for code, count in zip(*(found.tolist() for found in codes[:, i].unique(return_counts=True)), strict=True):
                if not 0 <= code < len(label.values):
                    raise UserError(f"--context label: {label.name} has code {code}, the values are 0..{len(label.values) - 1}")
                if self.seen.any() and not self.seen[i, code]:
                    return column, code, count
        return None

    def given(self, text: str) -> Tensor:
        """``7`` for a class; ``glasses=yes,smile=no``, every label that is conditioned on, for attributes."""
        pairs = [part.strip().partition("=") for part in text.split(",")]
        only = self.labels[self.chosen[0]] if len(self.chosen) == 1 else None
        # A value may have commas or equals signs in its own name.
        if only is not None and (text.strip() in only.values or (len(pairs) == 1 and not pairs[0][1])):
            pairs = [(only.name, "=", text.strip())]
        named = {name.strip(): value.strip() for name, equals, value in pairs if equals}
        codes = torch.zeros(len(self.labels), dtype=torch.long)
        for column in self.chosen:
            label = self.labels[column]
            if named.get(label.name) not in label.values:
                wanted = ",".join(f"{self.labels[i].name}=..." for i in self.chosen) if len(self.chosen) > 1 else "one of them"
                raise UserError(f"--given {text}: {label.name} is one of {listed(label.values)}; give {wanted}")
            codes[column] = label.values.index(named.pop(label.name))
        if named:
            known = listed(self.labels[i].name for i in self.chosen)
            raise UserError(f"--given {text}: the model is not conditioned on {next(iter(named))}; it is on {known}")
        c = codes[0] if self.is_class else codes
        unseen = self._unseen(c)
        if unseen is not None:
            raise UserError(f"--given {text}: {self._not_learned(*unseen[:2])}")
        return c

    def _seen(self) -> list[list[int]]:
        """The codes of each chosen label that the training data have; all before training."""
        sizes = [len(self.labels[column].values) for column in self.chosen]
        seen = self.seen if self.seen.any() else torch.ones_like(self.seen)
        return [row[:size].nonzero().squeeze(-1).tolist() for row, size in zip(seen.cpu(), sizes, strict=True)]

    def draw(self, count: int, seed: int) -> Tensor:
        """Each label drawn uniformly from the values that the training data have, (count,) or (count, A)."""
        generator = torch.Generator().manual_seed(seed)
        codes = torch.zeros(count, len(self.labels), dtype=torch.long)
        for column, values in zip(self.chosen, self._seen(), strict=True):
            codes[:, column] = torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]
        return codes[:, 0] if self.is_class else codes

    def each(self) -> dict[str, Tensor]:
        """Every combination of the values that the training data have."""
        values = self._seen()
        count = math.prod(len(v) for v in values)
        if count > MOST:
            raise UserError(
                f"--context label: {count} combinations of values are too many to go through; choose fewer labels with "
                "--context.attributes"
            )
        found = {}
        for combination in itertools.product(*values):
            codes = torch.zeros(len(self.labels), dtype=torch.long)
            codes[list(self.chosen)] = torch.tensor(combination)
            named = [(self.labels[i].name, self.labels[i].values[v]) for i, v in zip(self.chosen, combination, strict=True)]
            text = named[0][1] if self.is_class else ",".join(f"{name}={value}" for name, value in named)
            found[text] = codes[0] if self.is_class else codes
        return found


@final
@dataclass(frozen=True, kw_only=True)
class Label(Context):
    """The label of a datum, or several: p(z|c), p(x|z,c) and q(z|x,c) share one learned embedding of c.

    Source: Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models.

    Args:
        size: C, the size of the embedding.
        attributes: Names of the labels that are conditioned on; None for all that the data have.

    Raises:
        UserError: If the data have no labels, no such label, or one with a single value.
    """

    size: int = 16
    attributes: tuple[str, ...] | None = None

    reads = "y"

    def __post_init__(self) -> None:
        check_integer("context.size", self.size, 1)
        if self.attributes is not None:
            if isinstance(self.attributes, str) or not self.attributes:
                raise UserError(f"--context.attributes {self.attributes}: needs a list of names, such as [glasses,smile]")
            object.__setattr__(self, "attributes", tuple(self.attributes))

    def build(self, spec: DataSpec) -> LabelEmbedding:
        labels = spec.labels
        if not labels:
            raise UserError("--context label: the data have no labels; give data that have them, or --context none")
        names = [label.name for label in labels]
        for name in self.attributes or ():
            if name not in names:
                raise UserError(f"--context.attributes {name}: the data have no such label; they have {listed(names)}")
        chosen = [i for i, name in enumerate(names) if self.attributes is None or name in self.attributes]
        for label in (labels[i] for i in chosen):
            if len(label.values) < 2:
                raise UserError(
                    f"--context label: {label.name} has one value ({', '.join(label.values)}), which tells nothing; "
                    "leave it out of --context.attributes, or use --context none"
                )
        return LabelEmbedding(spec, chosen, self.size)
