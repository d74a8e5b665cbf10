"""Products that are rounded must not reach a reported digit."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from estimates import certify, elbo, evaluate_split
from known_models import LinearGaussian, all_of, digit_vae
from scipy import special, stats
from torch import Tensor, nn

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.evidence import keyed, pieces
from pyrovae.evidence.classification import classify_split
from pyrovae.evidence.precision import guard, representatives, roundings
from pyrovae.evidence.validation import validate

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
    np.testing.assert_allclose(found.log_evidence.mean, plain.log_evidence.mean, rtol=0, atol=1e-5)
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
    np.testing.assert_allclose(getattr(found, number).mean, getattr(exact, number).mean, rtol=0, atol=1e-6)
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
    error = 4 * np.hypot(found.log_evidence.monte_carlo_error, plain.log_evidence.monte_carlo_error)
    assert abs(found.log_evidence.mean - plain.log_evidence.mean) < error


def test_the_difference_from_float64_is_measured():
    """Against log-weights of scipy, at the samples that both have."""
    model, vae = rounded(always=True)
    x = model.draw(8)
    data, exact = list(range(8)), copy.deepcopy(vae).double()

    def of(some: VAE) -> Tensor:
        return roundings(some, exact, lambda seen, part: x[part].to(next(seen.parameters())), None, data, samples=50)

    found = of(vae)
    with torch.no_grad():
        params = vae.posterior_params(x)
        z = keyed.posterior_samples(vae.posterior_density, params, vae.posterior_density(params), 0, data, 0, 50)
        means = [vae.decoder(some).squeeze(-3).double().numpy() for some in (z, z)]
    means[1] = (z.double().numpy() @ model.weight.T + model.bias).reshape(50, 8, *SHAPE)
    log_p = [stats.norm(mean, model.noise).logpdf(x.numpy()).sum((-1, -2)) for mean in means]
    np.testing.assert_allclose(found[0], (log_p[0] - log_p[1]).mean(0), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[2], np.sqrt(((log_p[0] - log_p[1]) ** 2).mean(0)), rtol=0, atol=1e-4)
    assert found[2].min() > 1e-3
    assert of(model.vae(shift=0.3)).abs().max() < 1e-4
    assert (of(exact) == 0).all()


def test_products_are_named_as_torch_names_them():
    model, vae = rounded(always=False)
    with (
        pytest.raises(UserError, match="matmul='highets': unknown; did you mean highest"),
        guard(vae, lambda _, part: model.draw(2)[part], None, [0, 1], matmul="highets"),
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


def sixteen_bits() -> tuple[VAE, Tensor]:
    """Pictures of 16 bits, among them blank ones."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(65536, (120, 4, 4), generator=generator)
    x[:40] = 0
    torch.manual_seed(0)
    return VAE((4, 4), 2, "binomial", kind="levels", levels=65536, network="linear"), x


def counts() -> tuple[VAE, Tensor]:
    """Counts from 0 to a million, each row of one size."""
    generator = torch.Generator().manual_seed(1)
    size = torch.exp(3 * torch.randn(120, 1, generator=generator) + 6).clamp(max=1e6)
    x = torch.poisson(size.expand(120, 20), generator=generator)
    torch.manual_seed(0)
    vae = VAE((20,), 1, "poisson", kind="counts", network="linear")
    with torch.no_grad():  # z = log rate / 5 both ways
        vae.encoder.layers[0].weight.copy_(torch.cat([torch.full((1, 20), 1 / 100), torch.zeros(1, 20)]))
        vae.encoder.layers[0].bias.copy_(torch.tensor([0.0, -5.0]))
        vae.decoder.layers[0].weight.fill_(5.0)
        vae.decoder.layers[0].bias.zero_()
    return vae, x


def elbo_by_scipy(vae: VAE, x: Tensor, dtype: torch.dtype) -> np.ndarray:
    """The mean of twenty log-weights of each datum, at the samples of a guide in that precision, all else in float64, (N,)."""
    model, x = copy.deepcopy(vae).to(dtype), x.double()
    with torch.no_grad():
        params = model.posterior_params(x.to(dtype))
        q = model.posterior_density(params)
        z = keyed.posterior_samples(model.posterior_density, params, q, 0, list(range(len(x))), 0, 20).double().numpy()
        decoder = vae.decoder.layers[0]
        raw = z @ decoder.weight.double().numpy().T + decoder.bias.double().numpy()
    if vae.spec.kind == "counts":
        log_likelihood = stats.poisson(np.exp(math.log(2**24) * np.tanh(raw / math.log(2**24)))).logpmf(x.numpy())
    else:
        log_likelihood = stats.binom(65535, special.expit(raw)).logpmf(x.flatten(1).numpy())
    guide = stats.norm(q.base_dist.loc.double().numpy(), q.base_dist.scale.double().numpy())
    return (log_likelihood.sum(-1) + stats.norm.logpdf(z).sum(-1) - guide.logpdf(z).sum(-1)).mean(0)


@pytest.mark.parametrize("made", [sixteen_bits, counts])
def test_the_order_of_the_rows_does_not_hide_those_that_are_rounded(made):
    """Rows by size: their first 16 are exact in float32. In any order the rounded rows are found, and the numbers are float64's.

    Noise is keyed by the row, so that at the border the one order may ask for float64 for all data and the other for some.
    """
    vae, x = made()
    smallest_first = x.double().flatten(1).sum(1).argsort()
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    for order in (smallest_first, smallest_first.flip(0), shuffled):
        found = evaluate_split(vae, all_of(x[order], vae.spec), estimator="elbo", samples=20)
        # the guide is rounded where the model is, which makes it another guide and no error
        each = np.stack([elbo_by_scipy(vae, x[order], dtype) for dtype in (torch.float32, torch.float64)])
        off = (found.per_datum["estimate"].numpy() - each)[
            np.abs(found.per_datum["estimate"].numpy() - each).argmin(0), range(120)
        ]
        assert np.abs(off).max() < 0.02
        assert abs(off.mean()) < 5e-4
        assert found.precision["path"] == "float64" or found.precision["rows_in_float64"] > 0


class RoundedBeyond(nn.Module):
    """A decoder whose float32 products keep 8 bits where they are large."""

    def __init__(self, decoder: nn.Module, limit: float) -> None:
        super().__init__()
        self.decoder, self.limit = decoder, limit

    def forward(self, z: Tensor, embedding: Tensor | None = None) -> Tensor:
        found = self.decoder(z, embedding)
        rounds = (found.dtype == torch.float32) & (found.abs() > self.limit)
        return torch.where(rounds, found.bfloat16().to(found), found)


def few_far_out() -> tuple[LinearGaussian, VAE, Tensor, Tensor]:
    """Data of which seven, anywhere in the file, are so large that a decoder rounds them."""
    model = LinearGaussian()
    x, far = model.draw(300), torch.randperm(300, generator=torch.Generator().manual_seed(5))[:7]
    x[far] = 40 * x[far].sign() * x[far].abs().clamp(min=0.5)
    vae = model.vae(shift=0.3)
    vae.decoder = RoundedBeyond(vae.decoder, 12.0)
    return model, vae, x, far.sort().values


def test_the_few_data_that_are_rounded_are_computed_in_float64_alone():
    model, vae, x, far = few_far_out()
    found = report(vae, x, estimator="importance")
    exact = report(model.vae(shift=0.3).double(), x)
    assert found.precision["path"] == "float32 highest"
    assert found.precision["rows_in_float64"] == 7
    assert found.precision["difference"] < 5e-4
    assert "7 data computed in float64: float32 highest rounds each by 0.01 nats or more" in found.table()
    # in float64 to the last bits; the others as float32 has them
    np.testing.assert_allclose(found.per_datum["estimate"][far], exact.per_datum["estimate"][far], rtol=1e-9)
    np.testing.assert_allclose(found.per_datum["estimate"], exact.per_datum["estimate"], rtol=1e-5, atol=1e-4)
    assert abs(found.log_evidence.mean - exact.log_evidence.mean) < 5e-4


def test_pieces_of_an_evaluation_are_guarded_alike(monkeypatch):
    """Chunks of any size, with data of either precision in them, give what all data at once give."""
    _, vae, x, _ = few_far_out()
    whole = report(vae, x)
    monkeypatch.setattr(pieces, "FIRST", 7)
    monkeypatch.setattr(pieces, "SECONDS", 1e-9)
    piecewise = report(vae, x)
    for name in ("estimate", "monte_carlo_error", "elbo"):
        np.testing.assert_allclose(piecewise.per_datum[name], whole.per_datum[name], rtol=1e-5, atol=1e-4)


def test_simulated_data_are_guarded_too():
    model, vae = rounded(always=True)
    found = certify(vae, simulated=6, temperatures=5, chains=2)
    assert found.precision["path"] == "float64"
    assert "computed in float64" in found.table()
    assert certify(model.vae(), simulated=6, temperatures=5, chains=2).precision["path"] == "float32 highest"


def test_rows_that_stand_for_others_are_the_largest_and_a_spread_of_the_rest():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.lognormal(sigma=2, size=(1000, 3)))
    sizes = x.sum(1).numpy()
    rows, share = representatives(x, 40, seed=1)
    assert len(set(rows.tolist())) == 40
    np.testing.assert_allclose(share.sum(), 1, rtol=1e-12)
    assert set(np.argsort(sizes)[-20:]) <= set(rows.tolist())
    # weighted by what they stand for they estimate the mean of all, without bias, whatever the order of the file
    for order in (np.arange(1000), np.argsort(sizes), np.argsort(-sizes)):
        means = []
        for seed in range(200):
            rows, share = representatives(x[order], 40, seed)
            means.append((share.numpy() * np.sqrt(sizes[order][rows])).sum())
        assert abs(np.mean(means) - np.sqrt(sizes).mean()) < 3 * stats.sem(means)
    rows, share = representatives(x[:30], 40)
    assert rows.tolist() == list(range(30))
    np.testing.assert_allclose(share, 1 / 30)


@pytest.mark.parametrize("made", [sixteen_bits, counts])
def test_validation_is_guarded(made):
    """The ELBO of training, of a file whose first rows are blank or small, is that of float64."""
    vae, x = made()
    x = x.repeat(3, *(1 for _ in vae.spec.event_shape))
    rows = all_of(x[x.double().flatten(1).sum(1).argsort()], vae.spec).valid
    rounded_mean = elbo(vae, rows.x, samples=1, index=rows.index).mean
    exact = elbo(copy.deepcopy(vae).double(), rows.x, samples=1, index=rows.index).mean
    assert abs(validate(vae, rows, None, 0)["valid_elbo"] - exact) < 5e-4
    if made is counts:
        assert abs(rounded_mean - exact) > 5e-4


def test_validation_in_training_is_guarded_every_epoch():
    model, vae = rounded(always=True)
    data = all_of(model.draw(64), DataSpec(SHAPE))
    history = pyrovae.fit(vae, data, epochs=2, device="cpu", progress=False).history
    best = max(row["valid_elbo"] for row in history)
    exact = elbo(copy.deepcopy(vae).double(), data.x, samples=1, index=torch.arange(64)).mean
    assert best == pytest.approx(exact, abs=1e-9)


def test_validation_that_is_exact_in_float32_is_left_there():
    model = LinearGaussian()
    vae, rows = model.vae(shift=0.3), all_of(model.draw(200), DataSpec(SHAPE)).valid
    assert validate(vae, rows, None, 0)["valid_elbo"] == elbo(vae, rows.x, samples=1, index=rows.index).mean
