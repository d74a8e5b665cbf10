"""Every part with every other: what fits trains and has a finite ELBO, what does not is refused by one line with a remedy.

What fits is written down here once more, from what the parts are: the values that each density is of, and what each
objective needs. A family needs nothing here: its values follow from its row in the table of cases. Another part needs a row.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from cases import CASES, PRIOR_CASES, cases
from estimates import annealed, bdmc, elbo, importance, reconstruction
from torch import Tensor

from pyrovae import VAE, Dataset, UserError, fit
from pyrovae.cli.spelling import with_flags
from pyrovae.contracts import DataSpec
from pyrovae.contracts.supports import BITS, OPEN_UNIT, REALS, as_support
from pyrovae.engines import Eager
from pyrovae.parts import ROLES, make

SHAPE = (8, 8)
LATENTS = 2
LEVELS = 6
ROWS = {"train": 10, "valid": 3, "test": 3}
PARTICLES = 2

KINDS: dict[str, str] = {"levels": "levels", "counts": "counts", "reals": "inside", "binary": "bits"}
"""Kind of data -> the values of those made here. ``inside``: 0 < x < 1; ``unit``: 0 <= x <= 1; ``upwards``: 0 <= x."""

PROBES: dict[str, tuple[float, ...]] = {"inside": (0.1, 0.9), "unit": (0.1, 0.9), "upwards": (0.5, 3.5), "line": (-1.0, 1.0)}
"""Values of those that are no integers, which have a density or have none."""


def spaces(family: str) -> set[str]:
    """The values that a likelihood is a density of, by its rows in the table of cases.

    Integers are modelled by a probability of integers only: those are of the kinds of data that the rows take as they are.
    """
    rows = [case for case in CASES if case.family == family and "likelihood" in case.roles]
    integers = {KINDS[kind] for case in rows for kind, name in case.preprocess.items() if name == "none" and kind != "reals"}
    of_reals = [case for case in rows if case.preprocess.get("reals") == "none"]
    return integers | {
        name
        for name, values in PROBES.items()
        if any(case.density().support.check(torch.tensor(values)).all() for case in of_reals)
    }


LIKELIHOODS = {name: spaces(name) for name in ROLES["likelihood"]}

PREPROCESSES: dict[str, dict[str, str]] = {
    "none": {space: space for space in KINDS.values()},
    "binarise": dict.fromkeys(("levels", "bits", "inside"), "bits"),
    "dequantise": {"levels": "unit", "bits": "unit", "counts": "upwards"},
    "squeeze": dict.fromkeys(("levels", "bits", "inside"), "inside"),
    "standardise": {"inside": "line"},
}
"""Name -> values taken -> values made."""

PRIORS: dict[str, str] = {
    "normal": "line",
    "laplace": "line",
    "student_t": "line",
    "mixture": "line",
    "vamp": "line",
    "flow": "line",
    "beta": "inside",
    "uniform": "inside",
    "bernoulli": "bits",
}
"""Name -> where its latents live."""

SUPPORTS = {REALS: "line", OPEN_UNIT: "inside", BITS: "bits"}
PRIORS |= {case.prior: SUPPORTS[as_support(case.module().support)] for case in PRIOR_CASES if case.prior not in PRIORS}

LEARNED_PRIORS = {"mixture", "vamp", "flow"}
UNCONDITIONAL_PRIORS = {"uniform"}

POSTERIORS: dict[str, dict[str, Any]] = {
    "normal": {"latents": "line"},
    "full_normal": {"latents": "line"},
    "flow": {"latents": "line"},
    "beta": {"latents": "inside"},
    "bernoulli": {"latents": "bits", "pathwise": False},
    "delta": {"latents": "line", "density": False},
    "delta squash=sigmoid": {"latents": "inside", "density": False},
}
"""Name -> where its latents live, whether it has a pathwise gradient and a density (unless it says otherwise, it has)."""

POSTERIORS |= {
    case.family: {"latents": SUPPORTS[case.density().support], "pathwise": case.part.reparametrised}
    for case in cases("posterior")
    if case.family not in POSTERIORS
}

CLOSED_DIVERGENCES = {("normal", "normal"), ("normal", "laplace"), ("beta", "beta"), ("beta", "uniform")}
"""Posterior and prior between which torch knows the divergence."""

NETWORKS = ("linear", "mlp", "conv", "residual", "tied")
CONTEXTS = ("none", "label")
OBJECTIVES = ("elbo", "elbo-analytic", "iwae", "tracegraph")

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [8]},
    "conv": {"channels": [3], "hidden": 8},
    "residual": {"width": 8, "blocks": 1},
    "tied": {"hidden": [8]},
    "mixture": {"components": 3},
    "vamp": {"components": 3},
    "flow": {"hidden": 8},
    "label": {"size": 3},
}
"""Options that make a part quick to try."""

FACTORS: dict[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "likelihood": tuple(LIKELIHOODS),
    "preprocess": ("auto", *PREPROCESSES),
    "prior": (*PRIORS, *(f"{name} context=learned" for name in PRIORS if name not in UNCONDITIONAL_PRIORS)),
    "posterior": tuple(POSTERIORS),
    "context": CONTEXTS,
    "objective": OBJECTIVES,
    "network": NETWORKS,
}
DATA_FACTORS = ("kind", "likelihood", "preprocess")
LATENT_FACTORS = ("prior", "posterior", "context", "objective")


@dataclass(frozen=True)
class Row:
    """A choice of everything."""

    kind: str
    likelihood: str
    preprocess: str
    prior: str
    posterior: str
    context: str
    objective: str
    network: str

    def __str__(self) -> str:
        return "/".join(text.replace(" ", "_") for text in self.values())

    def values(self) -> tuple[str, ...]:
        return tuple(getattr(self, name) for name in FACTORS)

    def pairs(self) -> set[tuple[tuple[str, str], tuple[str, str]]]:
        """Every two of its choices."""
        return set(itertools.combinations(zip(FACTORS, self.values(), strict=True), 2))


Pair = tuple[tuple[str, str], tuple[str, str]]


# --- what fits -------------------------------------------------------------------------------------------------------------


def fits_data(kind: str, likelihood: str, preprocess: str) -> bool:
    """Whether the density is one of the values that the preprocessing makes."""
    if preprocess == "auto":
        wanted = [case.preprocess[kind] for case in CASES if case.family == likelihood and kind in case.preprocess]
        return bool(wanted) and fits_data(kind, likelihood, wanted[0])
    return PREPROCESSES[preprocess].get(KINDS[kind]) in LIKELIHOODS[likelihood]


def fits_latents(prior: str, posterior: str, context: str, objective: str) -> bool:
    """Whether prior and posterior share their latents, the context is there, and the objective has what it needs."""
    name, conditional = prior.split()[0], "context=learned" in prior
    about = {"pathwise": True, "density": True, **POSTERIORS[posterior]}
    learned = conditional or name in LEARNED_PRIORS
    if about["latents"] != PRIORS[name] or (conditional and context == "none") or (learned and not about["density"]):
        return False
    smooth = about["pathwise"] and about["density"]
    return {
        "elbo": True,
        "elbo-analytic": smooth and (posterior, name) in CLOSED_DIVERGENCES,
        "iwae": smooth,
        "tracegraph": not about["pathwise"],
    }[objective]


def fits(row: Row) -> bool:
    return fits_data(row.kind, row.likelihood, row.preprocess) and fits_latents(
        row.prior, row.posterior, row.context, row.objective
    )


FITTING_DATA = [c for c in itertools.product(*(FACTORS[name] for name in DATA_FACTORS)) if fits_data(*c)]
FITTING_LATENTS = [c for c in itertools.product(*(FACTORS[name] for name in LATENT_FACTORS)) if fits_latents(*c)]


def every_pair() -> set[Pair]:
    """Every two choices for two different things."""
    named = [[(name, value) for value in values] for name, values in FACTORS.items()]
    return {pair for a, b in itertools.combinations(named, 2) for pair in itertools.product(a, b)}


def possible_pairs() -> set[Pair]:
    """Those that some row that fits has; data, latents and network do not restrict each other."""
    within = {
        pair
        for names, found in ((DATA_FACTORS, FITTING_DATA), (LATENT_FACTORS, FITTING_LATENTS))
        for choice in found
        for pair in itertools.combinations(zip(names, choice, strict=True), 2)
    }
    groups = (DATA_FACTORS, LATENT_FACTORS)
    return {
        ((first, a), (second, b))
        for (first, a), (second, b) in every_pair()
        if ((first, a), (second, b)) in within or not any(first in group and second in group for group in groups)
    }


def fitting_row(fixed: dict[str, str], draw: random.Random) -> Row:
    """A random row that fits and has these choices."""

    def chosen(names: tuple[str, ...], found: list[tuple[str, ...]]) -> tuple[str, ...]:
        wanted = [fixed.get(name) for name in names]
        return draw.choice([c for c in found if all(w in (None, v) for w, v in zip(wanted, c, strict=True))])

    network = fixed.get("network") or draw.choice(NETWORKS)
    return Row(*chosen(DATA_FACTORS, FITTING_DATA), *chosen(LATENT_FACTORS, FITTING_LATENTS), network)


def any_row(fixed: dict[str, str], draw: random.Random) -> Row:
    """A random row that has these choices."""
    return Row(**{name: fixed.get(name) or draw.choice(values) for name, values in FACTORS.items()})


def covering_rows(tries: int = 40) -> list[Row]:
    """Rows that fit and have every possible pair between them: greedily, the best of a few for the first pair left."""
    draw, left, rows = random.Random(0), possible_pairs(), []
    while left:
        wanted = dict(min(left))
        candidates = [fitting_row(wanted, draw) for _ in range(tries)]
        rows.append(max(candidates, key=lambda row: len(row.pairs() & left)))
        left -= rows[-1].pairs()
    return rows


def nearly_fitting_row(pair: Pair, impossible: set[Pair], draw: random.Random, tries: int = 60) -> Row:
    """A row with an impossible pair and as few others as a few tries find: what refuses it is that pair."""
    candidates = [any_row(dict(pair), draw) for _ in range(tries)]
    return min(candidates, key=lambda row: len(row.pairs() & impossible))


COVERING = covering_rows()
IMPOSSIBLE = sorted(every_pair() - possible_pairs())


# --- trying it -------------------------------------------------------------------------------------------------------------


def data_of(kind: str) -> Dataset:
    """A few data with two classes."""
    generator = torch.Generator().manual_seed(0)
    count = sum(ROWS.values())
    u = torch.rand(count, *SHAPE, generator=generator)
    made: dict[str, Tensor] = {
        "levels": (u * LEVELS).to(torch.uint8),
        "counts": (u * LEVELS).long(),
        "reals": 0.05 + 0.9 * u,
        "binary": (u > 0.5).to(torch.uint8),
    }
    spec = DataSpec(SHAPE, kind, {"levels": LEVELS, "binary": 2}.get(kind), class_names=("a", "b"))
    rows = dict(zip(ROWS, torch.arange(count).split(list(ROWS.values())), strict=True))
    return Dataset("made", spec, made[kind], torch.arange(count) % 2, rows)


DATA = {kind: data_of(kind) for kind in KINDS}


def part(text: str) -> dict[str, Any]:
    """``flow context=learned`` as a name with options."""
    name, *options = text.split()
    return {"name": name, **SMALL.get(name, {}), **dict(option.split("=") for option in options)}


def built(row: Row) -> VAE:
    """The model of a row."""
    spec = DATA[row.kind].spec
    torch.manual_seed(0)
    likelihood = {"name": row.likelihood}
    if (row.likelihood, row.kind) == ("binomial", "counts"):
        likelihood["total_count"] = LEVELS
    return VAE(
        SHAPE,
        LATENTS,
        likelihood,
        prior=part(row.prior),
        posterior=part(row.posterior),
        network=part(row.network),
        context=part(row.context),
        preprocess=row.preprocess,
        kind=spec.kind,
        levels=spec.levels if spec.kind == "levels" else None,
        labels=spec.labels,
    )


def trained(row: Row) -> tuple[VAE, Dataset]:
    """The model of a row after a training step."""
    vae, data = built(row), DATA[row.kind]
    fit(vae, data, epochs=1, batch_size=16, objective=row.objective, particles=PARTICLES, device="cpu", progress=False)
    return vae, data


def check_evidence(vae: VAE, data: Dataset, c: Tensor | None) -> None:
    """Every estimator of log p(x) has a number."""
    x, c, index = data.test.x[:2], None if c is None else c[:2], data.test.index[:2]
    few = {"temperatures": 3, "chains": 2, "leapfrog": 1}
    found = [importance(vae, x, c, samples=2, index=index, proposal=proposal) for proposal in ("guide", "prior", "widened")]
    found += [annealed(vae, x, c, index=index, start=start, **few) for start in ("prior", "guide")]
    assert all(torch.isfinite(each.estimate).all() for each in found)
    assert torch.isfinite(bdmc(vae, data=2, **few).gap).all()


def check_row(row: Row) -> None:
    """What fits has numbers; what does not is refused by one line with a remedy."""
    if not fits(row):
        with pytest.raises(UserError) as refused:
            trained(row)
        message = with_flags(refused.value)
        assert "\n" not in message
        assert "--" in message
        return
    vae, data = trained(row)
    c = data.test.y if row.context == "label" else None
    if vae.parts["posterior"].has_density:
        found = elbo(vae, data.test.x, c, samples=2, index=data.test.index)
        check_evidence(vae, data, c)
    else:
        found = reconstruction(vae, data.test.x, c, index=data.test.index)
    assert torch.isfinite(found.estimate).all()
    drawn = vae.decode(vae.prior(c).expand((len(data.test.x),)).sample(), c)
    assert drawn.shape == data.test.x.shape
    assert torch.isfinite(drawn).all()


@pytest.mark.parametrize("row", COVERING, ids=str)
def test_all_pairs_that_fit_train_and_have_a_finite_elbo(row: Row) -> None:
    check_row(row)


@pytest.mark.parametrize("pair", IMPOSSIBLE, ids=lambda pair: "/".join(f"{a}={b.replace(' ', '_')}" for a, b in pair))
def test_all_pairs_that_cannot_be_are_refused_with_a_remedy(pair: Pair) -> None:
    row = nearly_fitting_row(pair, set(IMPOSSIBLE), random.Random(str(pair)))
    assert not fits(row)
    check_row(row)


def test_every_pair_is_covered_or_impossible() -> None:
    covered = set().union(*(row.pairs() for row in COVERING))
    assert all(fits(row) for row in COVERING)
    assert covered | set(IMPOSSIBLE) == every_pair()
    assert not covered & set(IMPOSSIBLE)


NOT_OF_MODELS = ("data", "optimizer", "schedule", "estimator")
"""Roles that a model does not know: tests/test_optimization.py tries every optimizer with every schedule, and the tests below
call the estimators of whatever they train."""


def test_the_choices_are_all_that_there_are() -> None:
    """A part that has no place in the tables above would never be tried with the others."""
    tried = {role: {value.split()[0] for value in FACTORS[role]} - {"auto"} for role in FACTORS if role != "kind"}
    assert tried == {role: set(table) for role, table in ROLES.items() if role not in NOT_OF_MODELS}


# --- the full product --------------------------------------------------------------------------------------------------------

PRODUCT = math.prod(len(values) for values in FACTORS.values())
SAMPLED_FITTING, SAMPLED_ANY, PARTS_OF_SAMPLE = 60, 60, 20


@pytest.mark.slow
@pytest.mark.parametrize("latents", FITTING_LATENTS, ids=lambda choice: "/".join(choice).replace(" ", "_"))
def test_the_full_product_of_what_fits_takes_a_step_with_finite_gradients(latents: tuple[str, ...]) -> None:
    for row in (Row(*data, *latents, network) for data, network in itertools.product(FITTING_DATA, NETWORKS)):
        vae, data = built(row), DATA[row.kind]
        vae.prepare(data.spec, data.train.x)
        vae.initialise(data.train.x, data.train.y if row.context == "label" else None)
        objective = make("objective", row.objective)
        objective.check(vae, PARTICLES)
        x = data.train.x[:4]
        y = vae.transform(x, torch.rand(x.shape))
        engine = Eager(vae, objective.build(PARTICLES), torch.optim.SGD(vae.parameters(), lr=0.0), clip_norm=0.0)
        loss = engine.step(y, data.train.y[:4] if row.context == "label" else None, 1.0)
        assert torch.isfinite(loss), row
        assert all(torch.isfinite(p.grad).all() for p in vae.parameters() if p.grad is not None), row


@pytest.mark.slow
@pytest.mark.parametrize("number", range(PARTS_OF_SAMPLE))
def test_a_sample_of_the_full_product(number: int) -> None:
    """Rows of the product of all choices, trained and evaluated or refused: as many that fit as others, in twenty parts."""
    draw = random.Random(f"part {number}")
    rows = {fitting_row({}, draw) for _ in range(SAMPLED_FITTING)} | {any_row({}, draw) for _ in range(SAMPLED_ANY)}
    for row in sorted(rows, key=str):
        try:
            check_row(row)
        except Exception as error:
            raise AssertionError(
                f"{row} (of {PRODUCT:,} rows, {len(FITTING_DATA) * len(FITTING_LATENTS) * len(NETWORKS):,} fit)"
            ) from error
