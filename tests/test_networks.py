"""Networks: any leading batch shape, no datum that looks at another, affine maps that are affine, embeddings that count."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import jacrev

from pyrovae import UserError
from pyrovae.networks import NETWORKS
from pyrovae.networks.residual import ResidualBlock
from pyrovae.parts import make

LATENT, C = 3, 2
POSTERIOR = (2, LATENT)
SHAPES = {"conv": (9, 13)}
"""Event shapes that a network needs; others take any."""
CHOICES: list[dict[str, Any]] = [
    {"name": "linear"},
    {"name": "mlp"},
    {"name": "mlp", "hidden": ()},
    *({"name": "mlp", "hidden": (16, 7), "activation": name} for name in ("relu", "tanh", "softplus", "gelu", "silu", "gated")),
    {"name": "conv", "channels": (4, 6), "hidden": 16},
    {"name": "conv", "channels": (4,), "hidden": 16, "activation": "tanh"},
    {"name": "residual", "width": 16},
    {"name": "residual", "width": 9, "blocks": 1, "activation": "silu"},
    {"name": "tied", "hidden": ()},
    {"name": "tied", "hidden": (16, 7), "activation": "tanh"},
]
EVERY = pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())))
ROLES = pytest.mark.parametrize("role", ["encoder", "decoder"])
WIDEST = 400
TOLERANCE = 4 * WIDEST * torch.finfo(torch.float32).eps
"""Sums of at most 400 terms, whose order depends on the batch, of numbers around 1, one after another."""


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def event_of(choice: dict[str, Any]) -> tuple[int, ...]:
    return SHAPES.get(choice["name"], (4, 5))


def built(
    choice: dict[str, Any], role: str, embedding_dim: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """A network ready for evaluation, the event shape of its input and that of its output."""
    event_shape = event_of(choice)
    pair = make("network", choice).pair(event_shape, POSTERIOR, (2, *event_shape), embedding_dim)
    encoder, decoder = (module.to(dtype).eval() for module in pair)
    if role == "encoder":
        return encoder, event_shape, POSTERIOR
    return decoder, (LATENT,), (2, *event_shape)


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
    network, event_shape, out_shape = built(choice, role, embedding_dim)
    x = torch.randn(*leading, *event_shape)
    embedding = torch.randn(*leading, C) if embedding_dim else None
    count = math.prod(leading)
    flat = network(x.reshape(count, *event_shape), None if embedding is None else embedding.reshape(count, C))
    found = network(x, embedding)
    assert found.shape == (*leading, *out_shape)
    assert close(found.reshape(count, *out_shape), flat)


@EVERY
@ROLES
@torch.no_grad()
def test_a_datum_does_not_depend_on_its_batch(choice: dict[str, Any], role: str) -> None:
    network, event_shape, _ = built(choice, role)
    x = torch.randn(33, *event_shape)
    together = network(x)
    alone = torch.cat([network(row.unsqueeze(0)) for row in x])
    in_other_company = network(torch.cat([x[:1], 100 * torch.randn(32, *event_shape)]))
    assert close(alone, together)
    assert close(in_other_company[0], together[0])


@EVERY
@ROLES
def test_an_embedding_is_used(choice: dict[str, Any], role: str) -> None:
    network, event_shape, _ = built(choice, role, C)
    x, embedding = torch.randn(6, *event_shape), torch.randn(6, C, requires_grad=True)
    gradient = torch.autograd.grad(network(x, embedding).square().sum(), embedding)[0]
    assert (gradient != 0).any(0).all()


@EVERY
@torch.no_grad()
def test_one_embedding_serves_many_samples(choice: dict[str, Any]) -> None:
    network, event_shape, _ = built(choice, "decoder", C)
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
    network, event_shape, _ = built(choice, role, dtype=torch.float64)
    without = choice["name"] == "linear" or choice.get("hidden") == ()
    assert is_affine(network, event_shape) == without


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_one_factor(name: str) -> None:
    """x = a pattern, with a ~ N(0, 1): one latent is enough, so 400 steps must explain nearly all of the variance."""
    event_shape = event_of({"name": name})
    encoder, decoder = make("network", name).pair(event_shape, (1, 1), (1, *event_shape))
    x = torch.randn(16, *(1 for _ in event_shape)) * torch.randn(event_shape)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=5e-3)
    for _ in range(400):
        optimizer.zero_grad()
        loss = (decoder(encoder(x).squeeze(-2)).squeeze(1) - x).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * x.square().mean()


@pytest.mark.parametrize("hidden", [(), (7,), (16, 7)], ids=str)
def test_the_decoder_mirrors_the_encoders_widths(hidden: tuple[int, ...]) -> None:
    network = make("network", {"name": "mlp", "hidden": hidden})
    for module, widths in [
        (network.encoder((4, 5), (2, 3)), (20, *hidden, 6)),
        (network.decoder(LATENT, (2, 3)), (LATENT, *hidden[::-1], 6)),
    ]:
        weights = [tuple(p.shape) for p in module.parameters() if p.dim() == 2]
        assert weights == [(b, a) for a, b in pairwise(widths)]


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("mlp", "hidden", (0,)),
        ("mlp", "hidden", (8, -1)),
        ("mlp", "hidden", (2.5,)),
        ("mlp", "hidden", 400),
        ("mlp", "activation", "foo"),
        ("conv", "channels", ()),
        ("conv", "channels", (8, 0)),
        ("conv", "channels", 8),
        ("conv", "hidden", 0),
        ("conv", "hidden", (8,)),
        ("conv", "activation", "foo"),
        ("residual", "width", 1),
        ("residual", "width", (8,)),
        ("residual", "blocks", 0),
        ("residual", "blocks", True),
        ("residual", "activation", ""),
        ("tied", "hidden", (0,)),
        ("tied", "hidden", 7),
        ("tied", "activation", "foo"),
    ],
)
def test_bad_options_are_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"network\.{option}"):
        make("network", {"name": name, option: value})


# --- conv ------------------------------------------------------------------------------------------------------------------

IMAGES = [(8, 8), (9, 13), (8, 64), (63, 10), (28, 28), (1, 28, 28), (3, 11, 8), (3, 64, 64)]


@pytest.mark.parametrize("event_shape", IMAGES, ids=str)
@pytest.mark.parametrize("channels", [(3,), (3, 4), (1, 1, 1)], ids=str)
@torch.no_grad()
def test_images_of_every_size_come_back_in_their_size(event_shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    network = make("network", {"name": "conv", "channels": channels, "hidden": 5})
    for n_params in (1, 2):
        encoder, decoder = network.pair(event_shape, (n_params, LATENT), (n_params, *event_shape))
        assert encoder(torch.randn(2, *event_shape)).shape == (2, n_params, LATENT)
        assert decoder(torch.randn(2, LATENT)).shape == (2, n_params, *event_shape)


@pytest.mark.parametrize("event_shape", [(8, 8), (9, 13), (3, 15, 8), (1, 17, 33)], ids=str)
def test_every_pixel_is_seen_and_made(event_shape: tuple[int, ...]) -> None:
    """No stride skips a pixel and no crop leaves one without weights."""
    network = make("network", {"name": "conv", "channels": (4, 4, 4), "hidden": 8, "activation": "softplus"})
    encoder, decoder = (module.double() for module in network.pair(event_shape, (1, LATENT), (2, *event_shape)))
    x, z = torch.randn(event_shape, dtype=torch.float64), torch.randn(LATENT, dtype=torch.float64)
    assert (jacrev(encoder)(x) != 0).any(0).any(0).all()
    assert (jacrev(decoder)(z) != 0).all()


@pytest.mark.parametrize("event_shape", [(8, 8), (9, 13), (3, 30, 64)], ids=str)
def test_convolutions_share_their_weights_between_pixels(event_shape: tuple[int, ...]) -> None:
    """Kernels of 3x3 and 4x4 with biases, two numbers a channel for each norm; only dense layers grow with the image."""
    network = make("network", {"name": "conv", "channels": (4, 6), "hidden": 5})
    encoder, decoder = network.pair(event_shape, POSTERIOR, (2, *event_shape), C)
    colours = 3 if len(event_shape) == 3 else 1
    coarsest = 6 * math.prod(math.ceil(n / 4) for n in event_shape[-2:])
    down = (9 * colours * 4 + 4) + 2 * 4 + (9 * 4 * 6 + 6)
    up = (16 * 6 * 4 + 4) + 2 * 4 + (16 * 4 * 2 * colours + 2 * colours)
    dense_down = (coarsest + C) * 5 + 5 + 5 * 6 + 6
    dense_up = (LATENT + C) * 5 + 5 + 5 * coarsest + coarsest
    assert sum(p.numel() for p in encoder.parameters()) == down + dense_down
    assert sum(p.numel() for p in decoder.parameters()) == up + dense_up


@torch.no_grad()
def test_a_single_channel_is_only_a_shape() -> None:
    network = make("network", {"name": "conv", "channels": (4, 4)})
    grey, one = network.pair((9, 13), POSTERIOR, (2, 9, 13)), network.pair((1, 9, 13), POSTERIOR, (2, 1, 9, 13))
    for a, b in zip(grey, one, strict=True):
        b.load_state_dict(a.state_dict())
    x, z = torch.randn(5, 9, 13), torch.randn(5, LATENT)
    assert torch.equal(grey[0](x), one[0](x.unsqueeze(1)))
    assert torch.equal(grey[1](z), one[1](z).squeeze(2))


@pytest.mark.parametrize(
    "event_shape", [(64,), (4, 4), (7, 8), (64, 65), (3, 64), (2, 28, 28), (4, 28, 28), (28, 28, 3), (1, 1, 28, 28)], ids=str
)
@pytest.mark.parametrize("role", ["encoder", "decoder", "pair"])
def test_what_is_no_image_is_refused(event_shape: tuple[int, ...], role: str) -> None:
    network = make("network", "conv")
    build = {
        "encoder": lambda: network.encoder(event_shape, POSTERIOR),
        "decoder": lambda: network.decoder(LATENT, (2, *event_shape)),
        "pair": lambda: network.pair(event_shape, POSTERIOR, (2, *event_shape)),
    }
    with pytest.raises(UserError, match=r"network='conv': .* have shape \(.*use network='mlp'") as refused:
        build[role]()
    assert str(event_shape) in str(refused.value)


@pytest.mark.parametrize(("event_shape", "most"), [((8, 8), 3), ((9, 8), 4), ((3, 8, 64), 6)], ids=str)
@torch.no_grad()
def test_a_single_pixel_is_not_halved(event_shape: tuple[int, ...], most: int) -> None:
    """Rounded up, n pixels are one after ceil(log2 n) halvings."""
    assert most == math.ceil(math.log2(max(event_shape[-2:])))
    deepest = make("network", {"name": "conv", "channels": (1,) * most, "hidden": 4})
    encoder, decoder = deepest.pair(event_shape, POSTERIOR, (1, *event_shape))
    assert encoder(torch.randn(1, *event_shape)).shape == (1, *POSTERIOR)
    assert decoder(torch.randn(1, LATENT)).shape == (1, 1, *event_shape)
    with pytest.raises(UserError, match=rf"network\.channels=\[1.*{most + 1} convolutions.* {most} halve"):
        make("network", {"name": "conv", "channels": (1,) * (most + 1)}).pair(event_shape, POSTERIOR, (1, *event_shape))


# --- residual --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_block_sees_neither_scale_nor_level_of_its_input() -> None:
    """Layer normalisation before the weights: the change of a h + b is that of h, up to the norm's 1e-5 next to a variance."""
    block = ResidualBlock(16, nn.Tanh).double()
    h = 100 * torch.randn(50, 16, dtype=torch.float64)
    change = block(h) - h
    assert change.std() > 0.1
    for scale, level in ((3.0, 0.0), (1.0, 70.0), (20.0, -40.0)):
        other = scale * h + level
        # The variance of 16 numbers is above 1000 here: 1e-5 / 1000 in each normalised number.
        assert ((block(other) - other - change).abs() < 1e-7).all()


@torch.no_grad()
def test_blocks_that_change_nothing_leave_an_affine_map() -> None:
    network, _, _ = built({"name": "residual", "width": 30, "blocks": 4}, "encoder", dtype=torch.float64)
    assert not is_affine(network, (4, 5))
    for block in network.layers[1:-1]:
        for parameter in block.change[-1].parameters():
            parameter.zero_()
    assert is_affine(network, (4, 5))


@pytest.mark.parametrize("role", ["encoder", "decoder"])
@pytest.mark.parametrize("blocks", [1, 5])
def test_each_block_has_two_layers_and_a_norm(role: str, blocks: int) -> None:
    network, event_shape, out_shape = built({"name": "residual", "width": 12, "blocks": blocks}, role, C)
    inputs, outputs, w = math.prod(event_shape) + C, math.prod(out_shape), 12
    expected = (inputs + 1) * w + blocks * (2 * w + 2 * (w + 1) * w) + (w + 1) * outputs
    assert sum(p.numel() for p in network.parameters()) == expected


# --- tied ------------------------------------------------------------------------------------------------------------------

HIDDEN = pytest.mark.parametrize("hidden", [(), (7,), (16, 7)], ids=str)


def tied_pair(hidden: tuple[int, ...], embedding_dim: int = 0, n_params: int = 2) -> nn.ModuleDict:
    """Encoder and decoder as a VAE holds them."""
    network = make("network", {"name": "tied", "hidden": hidden, "activation": "tanh"})
    encoder, decoder = network.pair((4, 5), POSTERIOR, (n_params, 4, 5), embedding_dim)
    return nn.ModuleDict({"encoder": encoder, "decoder": decoder}).double()


def without_biases(pair: nn.ModuleDict) -> nn.ModuleDict:
    with torch.no_grad():
        for parameter in pair.parameters():
            if parameter.dim() == 1:
                parameter.zero_()
    return pair


def slopes_at_zero(pair: nn.ModuleDict, embedding_dim: int) -> tuple[Tensor, Tensor]:
    """d mean / d x (D, E) of the encoder and d location / d z (E, D) of the decoder."""
    nothing = torch.zeros(embedding_dim, dtype=torch.float64) if embedding_dim else None
    x, z = torch.zeros(4, 5, dtype=torch.float64), torch.zeros(LATENT, dtype=torch.float64)
    down = jacrev(lambda x: pair["encoder"](x, nothing)[0])(x)
    up = jacrev(lambda z: pair["decoder"](z, nothing)[0])(z)
    return down.flatten(1), up.flatten(0, 1)


@HIDDEN
@pytest.mark.parametrize("embedding_dim", [0, C])
def test_the_decoder_is_the_encoder_transposed(hidden: tuple[int, ...], embedding_dim: int) -> None:
    """tanh has slope 1 at 0: without biases the derivatives there are products of weights, W_k ... W_1 and W_1' ... W_k'."""
    down, up = slopes_at_zero(without_biases(tied_pair(hidden, embedding_dim)), embedding_dim)
    assert down.abs().max() > 1e-3
    if hidden:
        # Float64 sums of at most 20 terms below 1, in another order.
        assert ((up - down.T).abs() < 1e-14).all()
    else:
        assert torch.equal(up, down.T)


@HIDDEN
def test_shared_weights_are_registered_once(hidden: tuple[int, ...]) -> None:
    """With a location and no more the decoder owns its biases only."""
    pair = tied_pair(hidden, n_params=1)
    assert [p.dim() for p in pair["decoder"].parameters()] == [1] * (len(hidden) + 1)
    widths = [20, *hidden, math.prod(POSTERIOR)]
    weights = sum(a * b for a, b in pairwise(widths))
    biases = sum(widths[1:]) + sum(hidden) + 20
    assert sum(p.numel() for p in pair.parameters()) == weights + biases
    assert sum(t.numel() for t in pair.state_dict().values()) == weights + biases


@HIDDEN
@torch.no_grad()
def test_a_saved_pair_comes_back(hidden: tuple[int, ...]) -> None:
    pair, other = tied_pair(hidden, C), tied_pair(hidden, C)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(pair.state_dict())))
    z, embedding = torch.randn(5, LATENT, dtype=torch.float64), torch.randn(5, C, dtype=torch.float64)
    assert torch.equal(other["decoder"](z, embedding), pair["decoder"](z, embedding))


@HIDDEN
@torch.no_grad()
def test_a_copys_decoder_is_tied_to_the_copys_encoder(hidden: tuple[int, ...]) -> None:
    pair = without_biases(tied_pair(hidden))
    z = torch.randn(5, LATENT, dtype=torch.float64)
    before = pair["decoder"](z)
    copied = copy.deepcopy(pair)
    for parameter in copied["encoder"].parameters():
        parameter.zero_()
    assert torch.equal(copied["decoder"](z)[:, 0], torch.zeros(5, 4, 5, dtype=torch.float64))
    assert torch.equal(pair["decoder"](z), before)
    assert (before[:, 0] != 0).all()


@HIDDEN
def test_a_moved_pair_stays_tied(hidden: tuple[int, ...]) -> None:
    pair = without_biases(tied_pair(hidden).float())
    assert pair["decoder"](torch.randn(5, LATENT)).dtype == torch.float32
    down, up = slopes_at_zero(pair.double(), 0)
    assert torch.allclose(up, down.T, rtol=0, atol=1e-14)
    # To a device whose tensors cannot share memory with the old ones, every parameter becomes a new object.
    assert pair.to("meta")["decoder"](torch.empty(5, LATENT, device="meta", dtype=torch.float64)).device.type == "meta"


@HIDDEN
def test_both_paths_train_the_shared_weights(hidden: tuple[int, ...]) -> None:
    """The gradient of a sum is the sum of the gradients, and neither is zero."""
    pair = tied_pair(hidden)
    weights = [p for p in pair["encoder"].parameters() if p.dim() == 2]
    x, z = torch.randn(6, 4, 5, dtype=torch.float64), torch.randn(6, LATENT, dtype=torch.float64)
    down, up = pair["encoder"](x).square().sum(), pair["decoder"](z).square().sum()
    by_encoder, by_decoder, by_both = (torch.autograd.grad(loss, weights, retain_graph=True) for loss in (down, up, down + up))
    for a, b, both in zip(by_encoder, by_decoder, by_both, strict=True):
        assert (a != 0).any()
        assert (b != 0).any()
        assert torch.allclose(both, a + b, rtol=1e-12)


def test_the_shared_weights_gradient_is_that_of_the_transpose() -> None:
    """Of f = sum(G (z W + b)): df/dW = z' G, rows of means only."""
    pair = tied_pair((), n_params=1)
    (weight,) = (p for p in pair["encoder"].parameters() if p.dim() == 2)
    z, g = torch.randn(6, LATENT, dtype=torch.float64), torch.randn(6, 4, 5, dtype=torch.float64)
    (found,) = torch.autograd.grad((pair["decoder"](z)[:, 0] * g).sum(), weight)
    expected = torch.cat([z.T @ g.flatten(1), torch.zeros(LATENT, 20, dtype=torch.float64)])
    assert torch.allclose(found, expected, rtol=0, atol=1e-13)


def test_a_tied_decoder_cannot_be_alone() -> None:
    with pytest.raises(UserError, match=r"network='tied': .*network='mlp'"):
        make("network", "tied").decoder(LATENT, (2, 4, 5))


def test_ties_between_unequal_sizes_are_refused() -> None:
    with pytest.raises(UserError, match=r"network='tied': .*\(4, 5\).*\(4, 6\).*network='mlp'"):
        make("network", "tied").pair((4, 5), POSTERIOR, (2, 4, 6))


@torch.no_grad()
def test_a_gated_layer_is_a_linear_map_times_the_sigmoid_of_another() -> None:
    encoder = make("network", {"name": "mlp", "hidden": (7,), "activation": "gated"}).encoder((4, 5), (2, 3))
    x = torch.randn(5, 4, 5)
    inner, _, last = encoder.layers
    both = x.flatten(1) @ inner.weight.T + inner.bias
    expected = (both[:, :7] / (1 + torch.exp(-both[:, 7:]))) @ last.weight.T + last.bias
    assert close(encoder(x).flatten(1), expected)
