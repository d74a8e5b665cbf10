"""Supports: equal sets are equal, torch's constraints become them, and the way from the reals stays inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import pytest
import torch
from torch.distributions import constraints

from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.contracts.supports import (
    BITS,
    NONNEGATIVE_INTEGERS,
    OPEN_UNIT,
    POSITIVE,
    REALS,
    SUPPORTS,
    UNIT,
    Support,
    as_support,
    integers,
)
from pyrovae.families.normal import Normal

OF_TORCH = {
    "real": (constraints.real, REALS),
    "positive": (constraints.positive, POSITIVE),
    "greater than 0": (constraints.greater_than(0.0), POSITIVE),
    "unit interval": (constraints.unit_interval, UNIT),
    "interval": (constraints.interval(0.0, 1.0), UNIT),
    "boolean": (constraints.boolean, BITS),
    "nonnegative integer": (constraints.nonnegative_integer, NONNEGATIVE_INTEGERS),
    "integers": (constraints.integer_interval(0, 16), integers(0, 16)),
    "its own": (OPEN_UNIT.constraint, OPEN_UNIT),
}


@pytest.mark.parametrize(("constraint", "support"), OF_TORCH.values(), ids=OF_TORCH)
def test_a_constraint_of_torch_becomes_its_support(constraint, support):
    assert as_support(constraint) == support
    assert hash(as_support(constraint)) == hash(support)
    assert as_support(as_support(constraint)) == support


def test_supports_are_equal_where_they_are_the_same_set():
    found = [*SUPPORTS, integers(0, 1), integers(0, 16), integers(1, 16), as_support(constraints.interval(-1.0, 1.0))]
    assert len(set(found)) == len(found)
    assert integers(0, 16) == integers(0, 16)
    assert as_support(constraints.interval(-1.0, 1.0)) == as_support(constraints.interval(-1.0, 1.0))
    assert as_support(constraints.interval(-1.0, 1.0)) != as_support(constraints.interval(-1.0, 2.0))


@pytest.mark.parametrize("support", [REALS, POSITIVE, UNIT, OPEN_UNIT], ids=str)
def test_the_way_from_the_reals_has_an_inverse_and_stays_inside(support: Support):
    x = torch.linspace(-5, 5, 41, dtype=torch.float64)
    transform = support.from_reals()
    y = transform(x)
    assert support.check(y).all()
    np.testing.assert_allclose(transform.inv(y), x, rtol=1e-9, atol=1e-9)
    slopes = torch.autograd.functional.jacobian(transform, x).diagonal()
    np.testing.assert_allclose(transform.log_abs_det_jacobian(x, y), slopes.log(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("support", [BITS, NONNEGATIVE_INTEGERS, integers(0, 16)], ids=str)
def test_there_is_no_way_from_the_reals_to_integers(support: Support):
    with pytest.raises(NotImplementedError):
        support.from_reals()


@final
@dataclass(frozen=True, kw_only=True)
class OfTorch(Normal):
    """A user's family that says its support as torch does."""

    def support(self, spec: DataSpec) -> constraints.Constraint:  # type: ignore[override]
        return constraints.real


@final
@dataclass(frozen=True, kw_only=True)
class Elsewhere(Normal):
    """A user's family on a set that has no name here."""

    def support(self, spec: DataSpec) -> constraints.Constraint:  # type: ignore[override]
        return constraints.interval(-1.0, 1.0)


def test_a_family_may_say_its_support_as_torch_does():
    vae = VAE((3,), 2, posterior=OfTorch())
    assert vae.posterior_density.support is REALS
    with pytest.raises(UserError, match=r"lives on Interval\(lower_bound=-1\.0, upper_bound=1\.0\).*on the reals: they must"):
        VAE((3,), 2, posterior=Elsewhere())
