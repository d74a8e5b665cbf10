"""Data that are prepared for a model: which rows, what they become, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_models import LinearGaussian, all_of

from pyrovae import VAE, Dataset, UserError, load_dataset
from pyrovae.contracts import DataSpec
from pyrovae.evidence.prepared import prepare_data

MLP = {"name": "mlp", "hidden": [8]}


def table(n: int = 60) -> Dataset:
    """Rows far from 0, whose training part has another mean and scale than the whole."""
    x = torch.linspace(0, 1, n).unsqueeze(-1) ** 3 * torch.tensor([100.0, 7.0]) + 40
    rows = {"train": torch.arange(n // 2), "valid": torch.arange(0), "test": torch.arange(n // 2, n)}
    return Dataset("table", DataSpec((2,), "reals"), x, None, rows)


def test_rows_are_a_seeded_subset_with_their_positions():
    digits = load_dataset("digits")
    vae = VAE((8, 8), 2, "bernoulli", network=MLP, kind="levels", levels=17)
    first, again, other = (prepare_data(vae, digits, "test", limit=40, seed=seed) for seed in (3, 3, 4))
    assert len(first) == 40
    assert first.rows.index.tolist() == sorted(set(first.rows.index.tolist()))
    assert set(first.rows.index.tolist()) <= set(digits.rows["test"].tolist())
    assert torch.equal(first.rows.x, digits.x[first.rows.index])
    assert torch.equal(first.rows.index, again.rows.index)
    assert not torch.equal(first.rows.index, other.rows.index)
    assert len(prepare_data(vae, digits, "test", limit=10**6)) == len(digits.rows["test"])


def test_what_is_estimated_from_data_is_estimated_from_the_training_split():
    data = table()
    vae = VAE((2,), 1, "normal", network=MLP, preprocess="standardise")
    prepared = prepare_data(vae, data, "test")
    train = data.x[:30].double().numpy()
    expected = (data.x[30:].double().numpy() - train.mean(0)) / train.std(0)
    (y, c), *rest = prepared.batches()
    assert not rest
    assert c is None
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)


def test_a_prepared_model_keeps_its_preprocessing():
    vae = VAE((2,), 1, "normal", network=MLP, preprocess="standardise")
    data = table()
    before = next(prepare_data(vae, data, "all").batches())[0]
    moved = replace(data, x=data.x * 3)
    prepare_data(vae, moved, "train")
    assert torch.equal(next(prepare_data(vae, data, "all").batches())[0], before)


def test_posteriors_are_those_of_the_closed_form_in_batches_of_any_size():
    """q(z|x) of a linear Gaussian model whose guide is the exact posterior: precision I + W'W / s^2."""
    model = LinearGaussian()
    x = model.draw(9)
    prepared = prepare_data(model.vae(), all_of(x, DataSpec(tuple(x.shape[1:]), "reals")), "all")
    (q,) = prepared.posteriors()
    mean = (x.double().numpy().reshape(9, -1) - model.bias) @ model.to_mean.T
    np.testing.assert_allclose(q.mean.detach().numpy(), mean, rtol=1e-4, atol=1e-5)  # float32: 6 products of numbers near 1
    np.testing.assert_allclose(q.stddev.detach().numpy(), np.broadcast_to(model.posterior_scale, mean.shape), rtol=1e-5)
    assert q.batch_shape == (9,)
    assert torch.equal(torch.cat([y for y, _ in prepared.batches(rows=2)]), next(prepared.batches())[0])


def test_noise_belongs_to_a_datum_and_not_to_its_company():
    digits = load_dataset("digits")
    vae = VAE((8, 8), 2, "beta", network=MLP, kind="levels", levels=17)
    every = torch.cat([y for y, _ in prepare_data(vae, digits, "all", seed=5).batches()])
    some = prepare_data(vae, digits, "test", limit=20, seed=5)
    assert torch.equal(torch.cat([y for y, _ in some.batches(rows=7)]), every[some.rows.index])
    assert not torch.equal(every, torch.cat([y for y, _ in prepare_data(vae, digits, "all", seed=6).batches()]))


def test_contexts_are_those_of_the_rows():
    digits = load_dataset("digits")
    vae = VAE((8, 8), 2, "bernoulli", network=MLP, context="label", kind="levels", levels=17, labels=digits.spec.labels)
    vae.initialise(digits.train.x, digits.train.y)
    prepared = prepare_data(vae, digits, "test", limit=30)
    assert torch.equal(prepared.c, digits.y[prepared.rows.index])
    assert torch.equal(torch.cat([c for _, c in prepared.batches(rows=7)]), prepared.c)


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({}, {"limit": 0}, "limit"),
        ({}, {"seed": -1}, "seed"),
        ({}, {"split": "held-out"}, "split"),
        ({"x": torch.full((60, 2), -1.0)}, {}, "outside the support"),
    ],
)
def test_what_cannot_be_used_is_refused(change, options, says):
    vae = VAE((2,), 1, "log_normal", network=MLP)
    with pytest.raises(UserError, match=says):
        prepare_data(vae, replace(table(), **change), **options)


def test_data_without_the_labels_that_the_model_needs_are_refused():
    digits = load_dataset("digits")
    vae = VAE((8, 8), 2, "bernoulli", network=MLP, context="label", kind="levels", levels=17, labels=digits.spec.labels)
    vae.initialise(digits.train.x, digits.train.y)
    unlabelled = replace(digits, y=None)
    with pytest.raises(UserError, match="label"):
        prepare_data(vae, unlabelled)


def test_the_same_data_and_model_have_the_same_digests():
    data = table()
    vae = VAE((2,), 1, "normal", network=MLP)
    first = prepare_data(vae, data, "test")
    assert first.digests() == prepare_data(vae, data, "test").digests()
    changed = replace(data, x=data.x + 1)
    other = prepare_data(vae, changed, "test").digests()
    assert other["model_sha256"] == first.digests()["model_sha256"]
    assert other["data_sha256"] != first.digests()["data_sha256"]
