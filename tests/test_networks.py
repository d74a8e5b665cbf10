"""Networks: any leading batch shape, no datum that looks at another, affine maps that are affine, embeddings that count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyrovae import UserError
from pyrovae.networks import NETWORKS
from pyrovae.parts import make

E, OUT, LATENT, C = (4, 5), (2, 3), 3, 2
CHOICES: list[dict[str, Any]] = [
    {"name": "linear"},
    {"name": "mlp"},
    {"name": "mlp", "hidden": ()},
    *({"name": "mlp", "hidden": (16, 7), "activation": name} for name in ("relu", "tanh", "softplus", "gelu", "silu")),
]
EVERY = pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())))
ROLES = pytest.mark.parametrize("role", ["encoder", "decoder"])
WIDEST = 400
TOLERANCE = 4 * WIDEST * torch.finfo(torch.float32).eps
"""Sums of at most 400 terms, whose order depends on the batch, of numbers around 1, in no more than 4 layers."""


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def built(choice: dict[str, Any], role: str, embedding_dim: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    """A network ready for evaluation, and the event shape of its input."""
    network = make("network", choice)
    if role == "encoder":
        return network.encoder(E, OUT, embedding_dim).eval(), E
    return network.decoder(LATENT, OUT, embedding_dim).eval(), (LATENT,)


def close(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs() <= TOLERANCE).all())


def test_every_network_is_tested() -> None:
    assert {choice["name"] for choice in CHOICES} == set(NETWORKS), "add the new network to CHOICES"


@EVERY
@ROLES
@pytest.mark.parametrize("leading", [(), (5,), (3, 5), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("embedding_dim", [0, C])
@torch.no_grad()
def test_a_leading_batch_shape_is_only_a_shape(
    choice: dict[str, Any], role: str, leading: tuple[int, ...], embedding_dim: int
) -> None:
    network, event_shape = built(choice, role, embedding_dim)
    x = torch.randn(*leading, *event_shape)
    embedding = torch.randn(*leading, C) if embedding_dim else None
    count = math.prod(leading)
    flat = network(x.reshape(count, *event_shape), None if embedding is None else embedding.reshape(count, C))
    found = network(x, embedding)
    assert found.shape == (*leading, *OUT)
    assert close(found.reshape(count, *OUT), flat)


@EVERY
@ROLES
@torch.no_grad()
def test_a_datum_does_not_depend_on_its_batch(choice: dict[str, Any], role: str) -> None:
    network, event_shape = built(choice, role)
    x = torch.randn(33, *event_shape)
    together = network(x)
    alone = torch.cat([network(row.unsqueeze(0)) for row in x])
    in_other_company = network(torch.cat([x[:1], 100 * torch.randn(32, *event_shape)]))
    assert close(alone, together)
    assert close(in_other_company[0], together[0])


@EVERY
@ROLES
def test_an_embedding_is_used(choice: dict[str, Any], role: str) -> None:
    network, event_shape = built(choice, role, C)
    x, embedding = torch.randn(6, *event_shape), torch.randn(6, C, requires_grad=True)
    gradient = torch.autograd.grad(network(x, embedding).square().sum(), embedding)[0]
    assert (gradient != 0).any(0).all()


@EVERY
@torch.no_grad()
def test_one_embedding_serves_many_samples(choice: dict[str, Any]) -> None:
    network, event_shape = built(choice, "decoder", C)
    z, embedding = torch.randn(7, 5, *event_shape), torch.randn(5, C)
    by_sample = torch.stack([network(sample, embedding) for sample in z])
    assert close(network(z, embedding), by_sample)


def is_affine(network: nn.Module, event_shape: tuple[int, ...]) -> bool:
    """Whether f(a x + (1 - a) y) = a f(x) + (1 - a) f(y)."""
    x, y = torch.randn(2, 50, *event_shape, dtype=torch.float64)
    a = 2.5
    mixed = network(a * x + (1 - a) * y)
    # Float64 sums of at most 400 terms around 1 to 10.
    return bool(((mixed - a * network(x) - (1 - a) * network(y)).abs() <= 10 * WIDEST * 2.3e-16).all())


@EVERY
@ROLES
@torch.no_grad()
def test_only_networks_without_hidden_layers_are_affine(choice: dict[str, Any], role: str) -> None:
    network, event_shape = built(choice, role)
    without = choice["name"] == "linear" or choice.get("hidden") == ()
    assert is_affine(network.double(), event_shape) == without


@pytest.mark.parametrize("hidden", [(), (7,), (16, 7)], ids=str)
def test_the_decoder_mirrors_the_encoders_widths(hidden: tuple[int, ...]) -> None:
    network = make("network", {"name": "mlp", "hidden": hidden})
    for module, widths in [
        (network.encoder(E, OUT), (20, *hidden, 6)),
        (network.decoder(LATENT, OUT), (LATENT, *hidden[::-1], 6)),
    ]:
        weights = [tuple(p.shape) for p in module.parameters() if p.dim() == 2]
        assert weights == [(b, a) for a, b in pairwise(widths)]


@pytest.mark.parametrize(
    ("option", "value"), [("hidden", (0,)), ("hidden", (8, -1)), ("hidden", (2.5,)), ("hidden", 400), ("activation", "foo")]
)
def test_bad_options_are_refused(option: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"--network\.{option}"):
        make("network", {"name": "mlp", option: value})
