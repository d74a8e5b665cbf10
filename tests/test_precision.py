"""Products that are rounded must not reach a reported digit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from known_models import LinearGaussian, all_of, digit_vae
from torch import Tensor, nn

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.evidence.classification import classify_split
from pyrovae.evidence.evaluating import evaluate_split
from pyrovae.evidence.precision import guard, probe

SHAPE = (2, 3)


class Rounded(nn.Module):
    """A decoder whose float32 products keep 8 bits where torch is told that it may round them, or always."""

    def __init__(self, decoder: nn.Module, always: bool) -> None:
        super().__init__()
        self.decoder, self.always = decoder, always

    def forward(self, z: Tensor, embedding: Tensor | None = None) -> Tensor:
        found = self.decoder(z, embedding)
        rounds = found.dtype == torch.float32 and (self.always or torch.get_float32_matmul_precision() == "medium")
        return found.bfloat16().float() if rounds else found


def rounded(always: bool) -> tuple[LinearGaussian, VAE]:
    model = LinearGaussian()
    vae = model.vae(shift=0.3)
    vae.decoder = Rounded(vae.decoder, always)
    return model, vae


def report(vae: VAE, x: Tensor, **options: object) -> object:
    return evaluate_split(vae, all_of(x, DataSpec(SHAPE)), samples=200, **options)


def test_products_that_move_the_digits_are_done_again():
    model, vae = rounded(always=False)
    x = model.draw(30)
    plain, found = report(model.vae(shift=0.3), x), report(vae, x, matmul="medium")
    assert found.precision["path"] == "float32 highest"
    assert [tried["path"] for tried in found.precision["refused"]] == ["float32 medium"]
    assert found.precision["refused"][0]["difference"] > 5e-4
    assert "computed in float32 highest: float32 medium" in found.table()
    np.testing.assert_allclose(found.log_evidence["mean"], plain.log_evidence["mean"], rtol=0, atol=1e-5)
    assert plain.precision["refused"] == []
    assert "computed in" not in plain.table()
    assert torch.get_float32_matmul_precision() == "highest"


def test_what_torch_is_set_to_is_probed_too():
    model, vae = rounded(always=False)
    torch.set_float32_matmul_precision("medium")
    try:
        found = report(vae, model.draw(10))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert [tried["path"] for tried in found.precision["refused"]] == ["float32 medium"]


@pytest.mark.parametrize("estimator", ["elbo", "importance"])
def test_where_float32_does_not_suffice_float64_is_used(estimator):
    model, vae = rounded(always=True)
    x = model.draw(30)
    found = report(vae, x, estimator=estimator)
    assert found.precision["path"] == "float64"
    exact = report(model.vae(shift=0.3).double(), x, estimator=estimator)
    number = "elbo" if estimator == "elbo" else "log_evidence"
    # both have the float32 noise, and the same weights
    np.testing.assert_allclose(getattr(found, number)["mean"], getattr(exact, number)["mean"], rtol=0, atol=1e-6)
    assert next(vae.parameters()).dtype == torch.float32


def test_autocast_does_not_reach_a_number():
    digits = pyrovae.load_dataset("digits")
    vae = digit_vae()
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.mul_(3)
    plain = evaluate_split(vae, digits, samples=50, limit=20)
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate_split(vae, digits, samples=50, limit=20)
    assert found.precision["path"] == "float64"
    # the encoder is rounded under autocast, which is another proposal of the same evidence
    error = 4 * np.hypot(found.log_evidence["monte_carlo_error"], plain.log_evidence["monte_carlo_error"])
    assert abs(found.log_evidence["mean"] - plain.log_evidence["mean"]) < error


def test_the_probe_measures_the_difference_from_float64():
    model, vae = rounded(always=True)
    x = model.draw(8)
    off = probe(vae, x, None)
    exact = probe(model.vae(shift=0.3), x, None)
    assert exact < 1e-4 < off
    assert probe(vae.double(), x.double(), None) == 0


def test_products_are_named_as_torch_names_them():
    model, vae = rounded(always=False)
    with (
        pytest.raises(UserError, match="--matmul highets: unknown; did you mean highest"),
        guard(vae, model.draw(2), None, "highets"),
    ):
        pass


def test_classes_are_guarded_as_well():
    digits = pyrovae.load_dataset("digits")
    vae = digit_vae("binomial", context="label", labels=digits.spec.labels)
    vae.initialise(digits.train.x, digits.train.y)
    exactly = classify_split(copy.deepcopy(vae).double(), digits, digits.train.y, samples=10, limit=20)
    vae.decoder = Rounded(vae.decoder, always=True)
    found = classify_split(vae, digits, digits.train.y, samples=10, limit=20)
    assert found.precision["path"] == "float64"
    assert "computed in float64" in found.table()
    # both have the float32 noise and, in float64, the same posteriors
    np.testing.assert_allclose(found.per_datum["log_evidence"], exactly.per_datum["log_evidence"], rtol=0, atol=1e-6)
