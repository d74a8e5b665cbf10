"""Labels as context: a class, or several attributes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from pyrovae.contexts.words import listed
from pyrovae.contracts import Context, ContextModule, DataSpec
from pyrovae.errors import UserError, check_each_once, check_integer, option

MOST = 256
"""The most combinations of values that are gone through."""

UNIFORM = "uniform"
"""The text that asks for uniformly drawn labels."""

BYTE = 256


def _fit_frequencies(module: LabelEmbedding, state: dict[str, Any], prefix: str, *others: Any) -> None:
    """Make room for the frequencies that are about to be loaded; a state without them leaves the module's own."""
    keys = [prefix + name for name in ("combinations", "counts")]
    combinations, counts = (state.get(key) for key in keys)
    if combinations is None and counts is None:
        own = (module.combinations, module.counts)
        state.update({key: buffer for key, buffer in zip(keys, own, strict=True) if buffer is not None})
    elif combinations is None or counts is None or not module.frequencies_fit(combinations, counts):
        *_, errors = others
        errors.append(f"{' and '.join(keys)} are no frequencies of its labels")
    else:
        device = module.seen.device
        module.combinations, module.counts = (torch.empty_like(found, device=device) for found in (combinations, counts))


@final
class LabelEmbedding(ContextModule):
    """e(c) = A^(-1/2) sum_a T_a[c_a]: a learned vector for each value of each of A labels.

    With it goes p(c), the joint frequencies of the chosen labels in the training data, from which labels are drawn:
    ``combinations`` (K, A), the codes that occur together, and ``counts`` (K,), how often. Models that were saved without them
    lack both.

    Args:
        spec: The data; their labels are y (N,) where they have classes, y (N, A) where they have attributes.
        chosen: Columns of the labels that are conditioned on.
        size: C.
    """

    seen: Tensor
    combinations: Tensor | None
    counts: Tensor | None

    def __init__(self, spec: DataSpec, chosen: Sequence[int], size: int) -> None:
        super().__init__()
        self.labels = labels = spec.labels
        self.is_class = not spec.attributes
        self.chosen = tuple(chosen)
        self.embedding_dim = size
        self.tables = nn.ModuleList(nn.Embedding(len(labels[column].values), size) for column in chosen)
        widest = max(len(labels[column].values) for column in chosen)
        self.register_buffer("seen", torch.zeros(len(chosen), widest, dtype=torch.bool))
        self.register_buffer("combinations", None)
        self.register_buffer("counts", None)
        self.register_load_state_dict_pre_hook(_fit_frequencies)  # type: ignore[no-untyped-call]  # of torch

    def _columns(self, c: Tensor | None) -> Tensor:
        """The codes that are conditioned on, (*, number of chosen labels)."""
        if c is None:
            raise UserError("context", "label", "needs labels", "give c, or data that have them")
        return c.unsqueeze(-1) if self.is_class else c[..., list(self.chosen)]

    def forward(self, c: Tensor | None) -> Tensor:
        """Codes c (*,), or (*, A) where a datum has several labels -> (*, C)."""
        codes = self._columns(c).long()
        vectors: list[Tensor] = [table(codes[..., i]) for i, table in enumerate(self.tables)]
        return sum(vectors[1:], vectors[0]) / math.sqrt(len(vectors))

    def initialise(self, c: Tensor | None) -> None:
        """Remember which values the training data have, and how often each combination of them occurs."""
        codes = self._columns(c).long().reshape(-1, len(self.chosen)).to(self.seen.device)
        for i in range(len(self.chosen)):
            self.seen[i, codes[:, i].unique()] = True
        combinations, self.counts = codes.unique(dim=0, return_counts=True)
        self.combinations = combinations.to(torch.uint8 if self.seen.shape[1] <= BYTE else torch.int32)

    def frequencies_fit(self, combinations: Tensor, counts: Tensor) -> bool:
        """Whether these are codes (K, A) of values that the labels have, with counts (K,) of each row."""
        rows, width = len(counts), len(self.chosen)
        whole = not (combinations.is_floating_point() or counts.is_floating_point())
        if not whole or counts.dim() != 1 or combinations.shape != (rows, width) or rows == 0:
            return False
        sizes = torch.tensor([len(self.labels[column].values) for column in self.chosen])
        codes = combinations.cpu().long()
        return bool((codes >= 0).all() and (codes < sizes).all() and (counts > 0).all())

    def check(self, c: Tensor | None) -> None:
        """Refuse values that no training datum had.

        Raises:
            UserError: Naming the value, how many data have it, and those that there are.
        """
        found = self._unseen(c)
        if found is not None:
            column, code, count = found
            label = self.labels[column]
            other = (
                f"use {option('context', 'none')}"
                if len(self.chosen) == 1
                else f"leave {label.name} out of {option('context.attributes')}"
            )
            raise UserError(
                "context",
                "label",
                self._not_learned(column, code),
                f"leave out the data that have it, {count} here (of olivetti, {option('data.unknown', 'drop')} does), or {other}",
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
                    raise UserError(
                        "context", "label", f"{label.name} has code {code}, the values are 0..{len(label.values) - 1}"
                    )
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
        check_each_once("given", [name.strip() for name, _, _ in pairs if name.strip()])
        named = {name.strip(): value.strip() for name, equals, value in pairs if equals}
        codes = torch.zeros(len(self.labels), dtype=torch.long)
        for column in self.chosen:
            label = self.labels[column]
            if named.get(label.name) not in label.values:
                wanted = ",".join(f"{self.labels[i].name}=..." for i in self.chosen) if len(self.chosen) > 1 else "one of them"
                raise UserError("given", text, f"{label.name} is one of {listed(label.values)}", f"give {wanted}")
            codes[column] = label.values.index(named.pop(label.name))
        if named:
            known = listed(self.labels[i].name for i in self.chosen)
            raise UserError("given", text, f"the model is not conditioned on {next(iter(named))}", f"it is on {known}")
        c = codes[0] if self.is_class else codes
        unseen = self._unseen(c)
        if unseen is not None:
            raise UserError("given", text, self._not_learned(*unseen[:2]))
        return c

    def _seen(self) -> list[list[int]]:
        """The codes of each chosen label that the training data have; all before training."""
        sizes = [len(self.labels[column].values) for column in self.chosen]
        seen = self.seen if self.seen.any() else torch.ones_like(self.seen)
        return [row[:size].nonzero().squeeze(-1).tolist() for row, size in zip(seen.cpu(), sizes, strict=True)]

    def draw(self, count: int, seed: int, given: str | None = None) -> Tensor:
        """Labels (count,) or (count, A), drawn from p(c), the joint frequencies in the training data.

        Args:
            count: Their number.
            seed: Of the draws.
            given: ``uniform`` draws all combinations of the training data equally often (a value of that name goes before);
                any other text is the context of all draws.

        If the frequencies were not recorded, each label is drawn uniformly and independently.
        """
        only = self.labels[self.chosen[0]].values if len(self.chosen) == 1 else ()
        uniform = given == UNIFORM and UNIFORM not in only
        if given is not None and not uniform:
            c = self.given(given)
            return c.expand(count, *c.shape)
        generator = torch.Generator().manual_seed(seed)
        codes = torch.zeros(count, len(self.labels), dtype=torch.long)
        if self.counts is None or self.combinations is None:
            for column, values in zip(self.chosen, self._seen(), strict=True):
                codes[:, column] = torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]
        else:
            # In whole numbers: a combination gets exactly its share of the numbers below the last sum.
            sums = (torch.ones_like(self.counts) if uniform else self.counts).cpu().cumsum(0)
            drawn = torch.randint(int(sums[-1]), (count,), generator=generator)
            codes[:, list(self.chosen)] = self.combinations.cpu().long()[torch.searchsorted(sums, drawn, right=True)]
        return codes[:, 0] if self.is_class else codes

    def remark(self) -> str:
        """A note on drawn labels: the model does not know how often they occur in the training data."""
        if self.counts is not None or not self.seen.any():
            return ""
        return (
            "the model was saved without the frequencies of the labels in its training data, so each label is "
            f"drawn uniformly; {option('given')} names one, and training again records them"
        )

    def each(self) -> dict[str, Tensor]:
        """Every combination of the values that the training data have."""
        values = self._seen()
        count = math.prod(len(v) for v in values)
        if count > MOST:
            raise UserError(
                "context",
                "label",
                f"{count} combinations of values are too many to go through",
                f"choose fewer labels with {option('context.attributes')}",
            )
        found = {}
        for combination in itertools.product(*values):
            codes = torch.zeros(len(self.labels), dtype=torch.long)
            codes[list(self.chosen)] = torch.tensor(combination)
            c = codes[0] if self.is_class else codes
            found[self.named(c.unsqueeze(0))[0]] = c
        return found

    def named(self, c: Tensor) -> list[str]:
        """``7`` for a class; ``glasses=yes,smile=no``, every label that is conditioned on, for attributes."""
        codes = self._columns(c).long().tolist()
        chosen = [self.labels[column] for column in self.chosen]
        rows = [[(label.name, label.values[code]) for label, code in zip(chosen, row, strict=True)] for row in codes]
        return [row[0][1] if self.is_class else ",".join(f"{name}={value}" for name, value in row) for row in rows]


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
        super().__post_init__()
        check_integer("context.size", self.size, 1)
        if self.attributes is not None:
            names = self.attributes if isinstance(self.attributes, list | tuple) else ()
            if not names or not all(isinstance(name, str) for name in names):
                raise UserError("context.attributes", self.attributes, "needs a list of names, such as [glasses,smile]")
            check_each_once("context.attributes", names)
            object.__setattr__(self, "attributes", tuple(names))

    def build(self, spec: DataSpec) -> LabelEmbedding:
        labels = spec.labels
        if not labels:
            raise UserError(
                "context", "label", "the data have no labels", f"give data that have them, or {option('context', 'none')}"
            )
        names = [label.name for label in labels]
        for name in self.attributes or ():
            if name not in names:
                raise UserError("context.attributes", name, "the data have no such label", f"they have {listed(names)}")
        chosen = [i for i, name in enumerate(names) if self.attributes is None or name in self.attributes]
        for label in (labels[i] for i in chosen):
            if len(label.values) < 2:
                raise UserError(
                    "context",
                    "label",
                    f"{label.name} has one value ({', '.join(label.values)}), which tells nothing",
                    f"leave it out of {option('context.attributes')}, or use {option('context', 'none')}",
                )
        return LabelEmbedding(spec, chosen, self.size)
