"""Classes from outside the package: objects, registered names, and the entry points of installed packages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import constraints

import pyrovae
from pyrovae import Importance
from pyrovae.contracts import (
    Context,
    ContextModule,
    DataSpec,
    Family,
    Network,
    Objective,
    Preprocess,
    Prior,
    PriorModule,
    Transform,
)

pytestmark = pytest.mark.usefixtures("open_tables")


@dataclass(frozen=True, kw_only=True)
class Gumbel(Family):
    """Gumbel with location from the network and a fixed scale.

    Args:
        scale: Its scale.
    """

    scale: float = 1.0
    reparametrised = True

    def support(self, spec: DataSpec) -> constraints.Constraint:
        return constraints.real

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> dist.Distribution:
        (loc,) = params.unbind(-1 - len(spec.event_shape))
        return dist.Gumbel(loc, torch.full_like(loc, self.scale)).to_event(len(spec.event_shape))


PACKAGE = """
from dataclasses import dataclass
from pyrovae.networks import Mlp
from pyrovae.contracts import Network

@dataclass(frozen=True, kw_only=True)
class Wide(Network):
    "A wide layer."

    units: int = 64

    def encoder(self, event_shape, out_shape, embedding_dim=0):
        return Mlp(hidden=(self.units,)).encoder(event_shape, out_shape, embedding_dim)

    def decoder(self, latent_dim, out_shape, embedding_dim=0):
        return Mlp(hidden=(self.units,)).decoder(latent_dim, out_shape, embedding_dim)
"""


def install(folder: Path, package: str, source: str, entry_points: str) -> None:
    """What pip leaves of a package: its module, and a dist-info with entry points."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{package}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def curves(count: int = 60) -> pyrovae.Dataset:
    x = scipy.stats.gumbel_r.rvs(size=(count, 3), random_state=0)
    return x.astype(np.float32)


def test_an_object_of_a_users_class_is_taken_where_a_name_is(tmp_path: Path) -> None:
    vae = pyrovae.VAE(event_shape=(3,), latent_dim=1, likelihood=Gumbel(scale=2.0), network="linear", kind="reals")
    with torch.no_grad():
        for net in (vae.encoder, vae.decoder):
            for parameter in net.parameters():
                parameter.zero_()
    # The decoder is constant and the posterior is the prior, so that every sample's weight is the density of the datum.
    np.save(tmp_path / "x.npy", curves())
    dataset = pyrovae.load_dataset(tmp_path / "x.npy")
    found = pyrovae.evaluate(vae, Importance(samples=3, proposal="guide"), data=dataset, split="test")
    expected = scipy.stats.gumbel_r.logpdf(dataset.test.x.numpy(), scale=2.0).sum(-1)
    np.testing.assert_allclose(found.log_evidence.mean, expected.mean(), rtol=1e-5)
    fitted = pyrovae.fit(vae, dataset, epochs=1)
    assert len(fitted.history) == 1
    assert pyrovae.sample(vae, count=4).x.shape == (4, 3)


def test_a_registered_name_is_everywhere(tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    pyrovae.register("likelihood", "gumbel", Gumbel)
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", curves())
    for command in (
        "train --data x.npy --likelihood gumbel --likelihood.scale 0.5 --epochs 1 --latent-dim 1 --network linear --out run",
        "evaluate run --samples 5 --limit 5",
        "list",
    ):
        answer = cli(*command.split())
        assert answer.code == 0, answer.err
    assert "Gumbel with location from the network" in answer.out
    assert pyrovae.load("run").parts["likelihood"] == Gumbel(scale=0.5)
    assert "gumbel" in cli("train", "--help").out


@pytest.mark.parametrize(
    ("role", "name", "more", "message"),
    [
        ("likelihod", "gumbel", {}, "no such role; did you mean likelihood"),
        ("likelihood", "normal", {}, "the name is taken by pyrovae.families.normal.Normal"),
        ("likelihood", "negative-binomial", {}, "the name is taken by"),
        ("likelihood", "Gumbel!", {}, "small letters"),
        ("likelihood", "auto", {}, "is not auto"),
        ("network", "gumbel", {}, "pyrovae.contracts.Network"),
        ("likelihood", "gumbel", {"preprocess": {"real": "none"}}, "the kinds of data are"),
        ("likelihood", "gumbel", {"preprocess": {"reals": "non"}}, "did you mean none"),
        ("posterior", "gumbel", {"preprocess": {"reals": "none"}}, "is for likelihoods"),
        ("likelihood", "gumbel", {"defaults": {"width": 1}}, "no option of Gumbel"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_one_line(role: str, name: str, more: dict, message: str) -> None:
    with pytest.raises(pyrovae.UserError, match=message) as error:
        pyrovae.register(role, name, Gumbel, **more)
    assert "\n" not in str(error.value)


def test_classes_that_are_no_parts_are_refused() -> None:
    class Plain(Gumbel):
        def n_params(self, spec: DataSpec) -> int:
            return 2

    @dataclass(frozen=True, kw_only=True)
    class Unfinished(Family):
        pass

    @dataclass(frozen=True, kw_only=True)
    class WithModule(Gumbel):
        net: nn.Module | None = None

    class Undecorated(Network):
        pass

    pyrovae.register("likelihood", "plain", Plain)  # it has the fields of what it is derived from
    for role, cls, message in [
        ("likelihood", Unfinished, "lacks distribution, n_params, support"),
        ("likelihood", WithModule, "its option net cannot be written"),
        ("network", Undecorated, "decorate it with @dataclass"),
        ("network", 3, "needs a frozen dataclass"),
    ]:
        with pytest.raises(pyrovae.UserError, match=message):
            pyrovae.register(role, "mine", cls)


def test_a_class_that_is_defined_anew_takes_its_own_place() -> None:
    def define() -> type[Gumbel]:
        @dataclass(frozen=True, kw_only=True)
        class Mine(Gumbel):
            width: float = 1.0

        return Mine

    first, second = define(), define()
    pyrovae.register("likelihood", "mine", first)
    pyrovae.register("likelihood", "mine", second)
    vae = pyrovae.VAE(event_shape=(3,), likelihood={"name": "mine", "width": 2.0})
    assert type(vae.parts["likelihood"]) is second


def test_an_option_without_a_default_is_asked_for() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Needy(Gumbel):
        width: float

    pyrovae.register("likelihood", "needy", Needy)
    with pytest.raises(pyrovae.UserError, match=r"likelihood\.width: needs a value"):
        pyrovae.VAE(event_shape=(3,), likelihood="needy")
    assert pyrovae.VAE(event_shape=(3,), likelihood={"name": "needy", "width": 1}).parts["likelihood"].width == 1


def test_defaults_of_a_role_are_those_that_were_registered() -> None:
    pyrovae.register("likelihood", "gumbel", Gumbel, defaults={"scale": 0.25}, preprocess={"counts": "none"})
    vae = pyrovae.VAE(event_shape=(3,), likelihood="gumbel")
    assert vae.parts["likelihood"].scale == 0.25
    assert vae.spec.kind == "counts"


@pytest.mark.parametrize(
    ("kind", "levels", "transform"), [("reals", None, "Identity"), ("levels", 4, "AddUniform"), ("counts", None, "AddUniform")]
)
def test_preprocessing_follows_from_the_support(kind: str, levels: int | None, transform: str) -> None:
    vae = pyrovae.VAE(event_shape=(3,), likelihood=Gumbel(), kind=kind, levels=levels)
    assert type(vae.transform).__name__ == transform


def test_saving_asks_for_a_name(tmp_path: Path) -> None:
    vae = pyrovae.VAE(event_shape=(3,), likelihood=Gumbel(), kind="reals")
    with pytest.raises(pyrovae.UserError, match=r'is not registered.*pyrovae\.register\("likelihood", NAME, Gumbel\)'):
        pyrovae.save(vae, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    pyrovae.register("likelihood", "gumbel", Gumbel)
    pyrovae.save(vae, tmp_path / "run")
    again = pyrovae.load(tmp_path / "run")
    x = torch.randn(5, 3)
    torch.testing.assert_close(again.encode(x).mean, vae.encode(x).mean, rtol=0, atol=0)


def test_an_installed_package_brings_its_parts(site: Path, cli: Callable, tmp_path: Path) -> None:
    install(site, "wide_nets", PACKAGE, "[pyrovae.networks]\nwide = wide_nets:Wide\n")
    vae = pyrovae.VAE(event_shape=(3,), likelihood="normal", network={"name": "wide", "units": 7}, kind="reals")
    assert 7 in {parameter.shape[0] for parameter in vae.encoder.parameters()}
    pyrovae.save(vae, tmp_path / "run")
    assert pyrovae.load(tmp_path / "run").parts["network"].units == 7
    assert "A wide layer." in cli("list").out


def test_an_object_of_an_installed_package_has_its_name(site: Path, tmp_path: Path) -> None:
    install(site, "wide_nets", PACKAGE, "[pyrovae.networks]\nwide = wide_nets:Wide\n")
    import wide_nets

    try:
        vae = pyrovae.VAE(event_shape=(3,), likelihood="normal", network=wide_nets.Wide(), kind="reals")
        assert vae.config()["network"] == {"name": "wide", "units": 64}
    finally:
        del sys.modules["wide_nets"]


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        ("raise RuntimeError('no such device\\nat all')", "broken:Wide", "RuntimeError: no such device"),
        ("import there_is_no_such_module", "broken:Wide", "ModuleNotFoundError"),
        ("", "broken:Wide", "AttributeError"),
        ("class Wide: pass", "broken:Wide", "needs a frozen dataclass derived from pyrovae.contracts.Network"),
    ],
)
def test_a_broken_package_is_one_line_and_spoils_no_other(
    site: Path, cli: Callable, source: str, entry: str, message: str
) -> None:
    install(site, "broken", source, f"[pyrovae.networks]\nodd = {entry}\n")
    install(site, "wide_nets", PACKAGE, "[pyrovae.networks]\nwide = wide_nets:Wide\n")
    try:
        with pytest.raises(pyrovae.UserError, match=f"package broken.*{message}") as error:
            pyrovae.VAE(event_shape=(3,), network="odd")
        assert "\n" not in str(error.value)
        listed = cli("list")
        assert listed.code == 0
        assert "A wide layer." in listed.out
        (line,) = listed.err.splitlines()
        assert "package broken" in line
        assert pyrovae.VAE(event_shape=(3,), network="wide").parts["network"].units == 64
    finally:
        sys.modules.pop("broken", None)
        sys.modules.pop("wide_nets", None)


def test_a_package_does_not_take_a_name_of_ours(site: Path) -> None:
    install(site, "taker", PACKAGE, "[pyrovae.networks]\nmlp = taker:Wide\n")
    assert type(pyrovae.VAE(event_shape=(3,), network="mlp").parts["network"]).__module__ == "pyrovae.networks.mlp"
    with (
        pytest.warns(UserWarning, match="package taker.*the name is taken by pyrovae.networks.mlp.Mlp"),
        pytest.raises(pyrovae.UserError),
    ):
        pyrovae.VAE(event_shape=(3,), network="mpl")


def test_what_is_taken_for_a_part_has_one_type_which_is_not_any() -> None:
    """Everywhere a part is taken, a type checker sees a name, a mapping or a part."""
    from pyrovae.parts import Choice

    taken = {"likelihood", "prior", "network", "context", "preprocess", "objective"}
    for function, names in ((pyrovae.train, taken), (pyrovae.VAE.__init__, taken - {"objective"})):
        hints = get_type_hints(function)
        given = {name: set(get_args(hints[name])) for name in names}
        assert all(set(get_args(Choice)) <= kinds for kinds in given.values()), given
        assert not any(Any in kinds for kinds in given.values())


@dataclass(frozen=True, kw_only=True)
class Narrow(Prior):
    """A normal prior of another scale.

    Args:
        scale: Its scale.
    """

    scale: float = 0.5
    natural_posterior = "normal"

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        return NarrowModule(latent.event_shape, self.scale)


class NarrowModule(PriorModule):
    support = constraints.real

    def __init__(self, shape: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.register_buffer("scales", torch.full(shape, scale), persistent=False)

    def forward(self, embedding: Tensor | None, encode: object) -> dist.Distribution:
        return dist.Normal(0.0, self.scales).to_event(1)


@dataclass(frozen=True, kw_only=True)
class Guess(Family):
    """A normal posterior of one scale."""

    reparametrised = True

    def support(self, spec: DataSpec) -> constraints.Constraint:
        return constraints.real

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> dist.Distribution:
        (loc,) = params.unbind(-1 - len(spec.event_shape))
        return dist.Normal(loc, 0.5).to_event(1)


@dataclass(frozen=True, kw_only=True)
class Wide(Network):
    """A linear encoder and a linear decoder, of any leading batch shape."""

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> nn.Module:
        return Affine(event_shape, out_shape)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> nn.Module:
        return Affine((latent_dim,), out_shape)


class Affine(nn.Module):
    def __init__(self, given: tuple[int, ...], out: tuple[int, ...]) -> None:
        super().__init__()
        self.given, self.out = given, out
        self.net = nn.Linear(int(np.prod(given)), int(np.prod(out)))

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        return self.net(x.flatten(-len(self.given))).unflatten(-1, self.out)


@dataclass(frozen=True, kw_only=True)
class Halve(Preprocess):
    """y = x / 2."""

    def build(self, spec: DataSpec, x: Tensor | None) -> Transform:
        return Half(spec, spec)


class Half(Transform):
    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return x.double() / 2

    def inverse(self, y: Tensor) -> Tensor:
        return 2 * y

    def log_abs_det_jacobian(self) -> float:
        return -self.given.size * float(np.log(2))


@dataclass(frozen=True, kw_only=True)
class Sign(Context):
    """What the model is conditioned on: whether the label is odd."""

    reads = "y"

    def build(self, spec: DataSpec) -> ContextModule:
        return SignModule()


class SignModule(ContextModule):
    embedding_dim = 1

    def forward(self, c: Tensor | None) -> Tensor | None:
        assert c is not None
        return (c % 2).unsqueeze(-1).to(torch.get_default_dtype())

    def given(self, text: str) -> Tensor:
        return torch.tensor(int(text))

    def draw(self, count: int, seed: int, given: str | None = None) -> Tensor | None:
        return torch.arange(count) % 2

    def each(self) -> dict[str, Tensor]:
        return {"even": torch.tensor(0), "odd": torch.tensor(1)}


@dataclass(frozen=True, kw_only=True)
class Plain(Objective):
    """Minus the evidence lower bound."""

    def build(self, particles: int) -> Trace_ELBO:
        return Trace_ELBO(num_particles=particles, max_plate_nesting=1)


OWN = {"prior": Narrow, "posterior": Guess, "network": Wide, "preprocess": Halve, "context": Sign}


def test_every_role_takes_an_object_of_a_users_class(tmp_path: Path) -> None:
    """The evidence of x through y = x / 2 under p(y) = Gumbel(0, 1) is that of x under Gumbel(0, 2)."""
    x = curves()
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(len(x)) % 4)
    dataset = pyrovae.load_dataset(tmp_path / "x.npz")
    parts = {role: cls() for role, cls in OWN.items()}
    vae = pyrovae.VAE(dataset.spec.event_shape, 2, Gumbel(), **parts, kind="reals", labels=dataset.spec.labels)
    pyrovae.fit(vae, dataset, epochs=1, objective=Plain())
    assert pyrovae.sample(vae, count=3).x.shape == (3, 3)
    with torch.no_grad():
        vae.decoder.net.weight.zero_()
        vae.decoder.net.bias.zero_()
    found = pyrovae.evaluate(vae, Importance(samples=400, proposal="prior"), data=dataset, split="test")
    expected = scipy.stats.gumbel_r.logpdf(dataset.test.x.numpy(), scale=2.0).sum(-1).mean()
    assert found.log_evidence.mean == pytest.approx(expected, rel=1e-5)
    with pytest.raises(pyrovae.UserError, match="is not registered"):
        pyrovae.save(vae, tmp_path / "run")
    for role, cls in {**OWN, "likelihood": Gumbel}.items():
        pyrovae.register(role, "mine", cls)
    again = pyrovae.load(pyrovae.save(vae, tmp_path / "run"))
    assert {role: type(again.parts[role]) for role in OWN if role != "preprocess"} == {
        role: cls for role, cls in OWN.items() if role != "preprocess"
    }
    z = torch.randn(4, 2)
    torch.testing.assert_close(again.decode(z, torch.tensor([0, 1, 2, 3])), vae.decode(z, torch.tensor([0, 1, 2, 3])))
