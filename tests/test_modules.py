"""Encoders and decoders of the user's own: any module that takes one batch dimension."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyrovae
from pyrovae import Importance
from pyrovae.contracts import DataSpec

E, D = (1, 8, 8), 3


def encoder(norm: bool = True) -> nn.Module:
    first = [nn.Conv2d(1, 4, 3, stride=2, padding=1), *([nn.BatchNorm2d(4)] if norm else []), nn.ReLU()]
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(64, 2 * D))


def decoder() -> nn.Module:
    wide = [nn.Linear(D, 64), nn.Dropout(0.5), nn.ReLU()]
    return nn.Sequential(*wide, nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 1, 2, stride=2))


def images(count: int = 60) -> Tensor:
    return (torch.rand(count, *E, generator=torch.Generator().manual_seed(0)) < 0.3).float()


@pytest.fixture
def data(tmp_path: Path) -> pyrovae.Dataset:
    np.save(tmp_path / "x.npy", images().numpy().astype(np.uint8))
    return pyrovae.load_dataset({"name": "file", "path": str(tmp_path / "x.npy"), "kind": "binary"})


def test_modules_are_trained_saved_and_loaded_again(data: pyrovae.Dataset, tmp_path: Path) -> None:
    mine = encoder(), decoder()
    before = copy.deepcopy(mine[0][0].weight)
    vae = pyrovae.VAE(E, D, "bernoulli", kind="binary", encoder=mine[0], decoder=mine[1])
    pyrovae.fit(vae, data, epochs=2)
    assert not torch.equal(mine[0][0].weight, before), "the user's own module is what was trained"
    pyrovae.save(vae, tmp_path / "run")
    again = pyrovae.load(tmp_path / "run", encoder=encoder(), decoder=decoder())
    found = [pyrovae.evaluate(one, Importance(samples=20), data=data, split="test").log_evidence for one in (vae, again)]
    assert found[0] == found[1]
    for module, other in zip(vae.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(module, other, rtol=0, atol=0)


def test_what_modules_return_is_what_the_model_computes(data: pyrovae.Dataset) -> None:
    """Whatever stands before the event shape, the module sees one batch dimension."""
    net, back = encoder(), decoder()
    vae = pyrovae.VAE(E, D, "bernoulli", kind="binary", network=pyrovae.Modules(net, back)).eval()
    x, z = images(6), torch.randn(5, 6, D)
    params = net(x).view(6, 2, D)
    torch.testing.assert_close(vae.encode(x).mean, params[:, 0])
    torch.testing.assert_close(vae.encode(x.view(2, 3, *E)).mean, params[:, 0].view(2, 3, D))
    torch.testing.assert_close(vae.encode(x[0]).mean, params[0, 0])
    logits = back(z.view(30, D)).view(5, 6, *E)
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(vae.likelihood(z).log_prob(x), expected)
    assert vae.encode(x[:0]).mean.shape == (0, D)


def test_evaluation_does_not_depend_on_who_else_is_there(data: pyrovae.Dataset) -> None:
    net = encoder()
    vae = pyrovae.VAE(E, D, "bernoulli", kind="binary", encoder=net, decoder=decoder())
    pyrovae.fit(vae, data, epochs=2)
    counted = copy.deepcopy(net[1].state_dict())
    assert int(counted["num_batches_tracked"]) > 0, "training is in training mode"
    vae.train()
    vae.decoder.eval()  # as somebody does who keeps a decoder as it is
    alone = pyrovae.evaluate(vae, Importance(samples=10), data=data, split="test", limit=1)
    everyone = pyrovae.evaluate(vae, Importance(samples=10), data=data, split="test")
    place = everyone.per_datum["index"].tolist().index(alone.per_datum["index"][0])
    # Convolutions of one image and of ten round differently, by some units of float32's last digit of 40 nats.
    assert alone.per_datum["estimate"][0].item() == pytest.approx(everyone.per_datum["estimate"][place].item(), abs=1e-4)
    assert (vae.training, vae.encoder.training, vae.decoder.training) == (True, True, False)
    for name, value in net[1].state_dict().items():
        assert torch.equal(value, counted[name]), name


def test_building_leaves_modules_as_they_were() -> None:
    net = encoder()
    net[1].eval()
    before, state = {name: one.training for name, one in net.named_modules()}, copy.deepcopy(net.state_dict())
    back = decoder()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    pyrovae.VAE(E, D, "bernoulli", kind="binary", encoder=net, decoder=back)
    # Building takes no numbers from the generator.
    assert torch.equal(torch.rand(1), expected)
    assert {name: one.training for name, one in net.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


class Conditional(nn.Module):
    """Of an input and an embedding of the label."""

    def __init__(self, size: int, embedding: int, out: int) -> None:
        super().__init__()
        self.net = nn.Linear(size + embedding, out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        assert x.shape[:1] == embedding.shape[:1]
        assert embedding.dim() == 2
        return self.net(torch.cat([x.flatten(1), embedding], 1))


def test_modules_of_a_conditional_model_have_the_embedding() -> None:
    labels = [{"name": "class", "values": ["a", "b", "c"]}]
    vae = pyrovae.VAE(
        (4,),
        2,
        "normal",
        kind="reals",
        context={"name": "label", "size": 5},
        labels=labels,
        encoder=Conditional(4, 5, 4),
        decoder=Conditional(2, 5, 4),
    )
    c = torch.tensor([0, 1, 2])
    vae.context_module.initialise(c)
    assert vae.encode(torch.randn(3, 4), c).mean.shape == (3, 2)
    assert vae.likelihood(torch.randn(7, 3, 2), c).batch_shape == (7, 3)


@pytest.mark.parametrize(
    ("out", "accepted"),
    [
        ((2, 4), True),
        ((8,), True),
        ((4, 2), False),
        ((4,), False),
        ((2, 2, 2), False),
    ],
)
def test_an_output_is_one_of_the_documented_shapes(out: tuple[int, ...], accepted: bool) -> None:
    """Of a density with two parameters of four elements: (P, E), and flat."""

    def build() -> pyrovae.VAE:
        net = nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, out) if int(np.prod(out)) == 8 else nn.Linear(8, 4))
        return pyrovae.VAE((4,), 3, {"name": "normal", "scale": "network"}, kind="reals", encoder=nn.Linear(4, 6), decoder=net)

    if accepted:
        assert build().likelihood(torch.zeros(2, 3)).event_shape == (4,)
        return
    with pytest.raises(pyrovae.UserError) as error:
        build()
    assert str((2, *out)) in str(error.value)
    assert "(2, 2, 4) or (2, 8)" in str(error.value)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(x), self.net(x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder": nn.Linear(5, 4)}, r"encoder='Linear': cannot take an input \(2, 4\).*shapes cannot be multiplied"),
        ({"encoder": nn.Linear(4, 5)}, r"returns the shape \(2, 5\); this model needs \(2, 2, 2\) or \(2, 4\)"),
        ({"encoder": Pair()}, "returns a tuple"),
        ({"encoder": nn.Linear(4, 4).double()}, r"has weight in torch\.float64, and the model is in torch\.float32"),
        ({"decoder": nn.Linear(2, 7)}, r"decoder='Linear': returns the shape \(2, 7\)"),
        ({"decoder": None}, "decoder.*needs a torch.nn.Module"),
        ({"decoder": "mlp"}, "decoder.*needs a torch.nn.Module"),
        ({"network": "conv"}, "leave one or the other out"),
    ],
)
def test_modules_that_do_not_fit_are_refused_when_the_model_is_built(given: dict, message: str) -> None:
    fitting = {"encoder": nn.Linear(4, 4), "decoder": nn.Linear(2, 4)}
    with pytest.raises(pyrovae.UserError, match=message) as error:
        pyrovae.VAE((4,), 2, {"name": "normal", "scale": 1.0}, kind="reals", **{**fitting, **given})
    assert "\n" not in str(error.value)


def test_lazy_modules_and_shared_weights(tmp_path: Path) -> None:
    shared = nn.Linear(2, 4)

    class Back(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = shared

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x @ self.shared.weight, x[:, :2] * 0], 1)

    vae = pyrovae.VAE(
        (4,), 2, {"name": "normal", "scale": 1.0}, kind="reals", encoder=nn.Sequential(Back(), nn.LazyLinear(4)), decoder=shared
    )
    assert len(list(vae.parameters())) == 4
    pyrovae.save(vae, tmp_path / "run")
    again = pyrovae.load(tmp_path / "run", encoder=nn.Sequential(Back(), nn.LazyLinear(4)), decoder=shared)
    x = torch.randn(3, 4)
    torch.testing.assert_close(again.encode(x).mean, vae.encode(x).mean)


def test_a_run_of_modules_says_what_it_needs(data: pyrovae.Dataset, tmp_path: Path, cli: Callable) -> None:
    vae = pyrovae.VAE(E, D, "bernoulli", kind="binary", encoder=encoder(), decoder=decoder())
    run = pyrovae.save(vae, tmp_path / "run")
    for call in (pyrovae.load, pyrovae.sample):
        with pytest.raises(pyrovae.UserError, match=r"pyrovae\.load\(folder, encoder=MODULE, decoder=MODULE\)") as error:
            call(run)
        assert "evaluate, classify and encode take the VAE and data=" in str(error.value)
        assert "damaged" not in str(error.value)
    assert cli("sample", run).code == 2
    again = pyrovae.load(run, encoder=encoder(), decoder=decoder())
    assert pyrovae.encode(again, data=data).mean.shape == (60, D)
    with pytest.raises(pyrovae.UserError, match="a VAE in memory has no data of its own"):
        pyrovae.encode(again)
    with pytest.raises(pyrovae.UserError, match=r"does not fit the encoder and the decoder that are given"):
        pyrovae.load(run, encoder=encoder(norm=False), decoder=decoder())
    with pytest.raises(pyrovae.UserError, match="returns the shape"):
        pyrovae.load(run, encoder=encoder(), decoder=nn.Linear(D, 7))
    other = pyrovae.save(pyrovae.VAE(E, D, "bernoulli", kind="binary"), tmp_path / "other")
    with pytest.raises(pyrovae.UserError, match="the network of the run, mlp, makes its own"):
        pyrovae.load(other, encoder=encoder(), decoder=decoder())
    refused = cli("train", "--data", "digits", "--network", "modules", "--out", tmp_path / "new")
    assert refused.code == 2
    assert "only Python can give" in refused.err
    assert "modules" not in cli("list").out


def test_a_training_of_modules_goes_on_where_it_stopped(data: pyrovae.Dataset, tmp_path: Path) -> None:
    def make() -> pyrovae.Modules:
        torch.manual_seed(0)
        return pyrovae.Modules(encoder(), decoder())

    given = {
        "data": {"name": "file", "path": str(tmp_path / "x.npy"), "kind": "binary"},
        "latent_dim": D,
        "progress": False,
    }
    whole = pyrovae.train(**given, network=make(), epochs=3, out=tmp_path / "whole").vae
    pyrovae.train(**given, network=make(), epochs=1, out=tmp_path / "parts")
    parts = pyrovae.train(**given, network=make(), epochs=3, out=tmp_path / "parts", resume=True).vae
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value), name


# --- what is replaced by hand --------------------------------------------------------------------------------------------


def replace_decoder(vae: pyrovae.VAE) -> None:
    vae.decoder = decoder()


def replace_encoder(vae: pyrovae.VAE) -> None:
    vae.encoder = nn.Sequential(nn.Flatten(1), nn.Linear(64, 2 * D), nn.Unflatten(1, (2, D)))


def replace_prior(vae: pyrovae.VAE) -> None:
    vae.prior_module = pyrovae.VAE(E, D, prior="mixture").prior_module


def replace_likelihood(vae: pyrovae.VAE) -> None:
    vae.likelihood_density = pyrovae.VAE(E, D, {"name": "normal", "scale": 2.0}).likelihood_density


def replace_posterior_option(vae: pyrovae.VAE) -> None:
    other = pyrovae.VAE(E, D, posterior={"name": "normal", "scale": 0.5})
    vae.posterior_density = other.posterior_density


def add_a_hook(vae: pyrovae.VAE) -> None:
    vae.decoder.register_forward_hook(lambda module, given, out: 2 * out)


def replace_a_method(vae: pyrovae.VAE) -> None:
    vae.decoder.forward = lambda z, embedding=None: torch.zeros(*z.shape[:-1], 1, *E)


@pytest.mark.parametrize(
    "change",
    [
        replace_decoder,
        replace_encoder,
        replace_prior,
        replace_likelihood,
        replace_posterior_option,
        add_a_hook,
        replace_a_method,
    ],
)
def test_what_is_replaced_by_hand_is_refused_at_save(change: Callable[[pyrovae.VAE], None], tmp_path: Path) -> None:
    vae = pyrovae.VAE(E, D, "bernoulli", kind="binary")
    change(vae)
    part = r"^vae\.(encoder|decoder|prior_module|likelihood|posterior)"
    with pytest.raises(pyrovae.UserError, match=f"{part}.*is not what the options"):
        pyrovae.save(vae, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_modules_of_a_model_of_modules_are_not_replaced_unseen(tmp_path: Path) -> None:
    for replace in (replace_decoder, lambda vae: setattr(vae.decoder, "module", nn.Linear(D, 64))):
        vae = pyrovae.VAE(E, D, "bernoulli", kind="binary", encoder=encoder(), decoder=decoder())
        replace(vae)
        with pytest.raises(pyrovae.UserError, match=r"vae\.decoder"):
            pyrovae.save(vae, tmp_path / "run")


def test_an_attribute_that_is_changed_by_hand_is_refused_at_save(tmp_path: Path) -> None:
    vae = pyrovae.VAE(E, D, "bernoulli", kind="binary", network="conv")
    convolution = next(one for one in vae.decoder.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d))
    convolution.padding = tuple(one + 1 for one in convolution.padding)
    with pytest.raises(pyrovae.UserError, match=r"vae\.decoder.*padding"):
        pyrovae.save(vae, tmp_path / "run")


def test_other_weights_of_the_same_model_survive(tmp_path: Path) -> None:
    vae, other = (pyrovae.VAE(E, D, "bernoulli", kind="binary") for _ in range(2))
    vae.decoder = other.decoder
    again = pyrovae.load(pyrovae.save(vae, tmp_path / "run"))
    z = torch.randn(4, D)
    assert torch.equal(again.decode(z), other.decode(z))


def test_the_sizes_that_modules_need_are_attributes_of_a_model() -> None:
    vae = pyrovae.VAE(E, D, {"name": "normal", "scale": "network"}, kind="reals")
    assert vae.posterior_density.params_shape == (2, D)
    assert vae.likelihood_density.params_shape == (2, *E)
    assert DataSpec(E).size == 64
