"""The VAE as an ordinary Pyro program, and as something built from names, options or parts."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pyro
import pytest
import torch
import yaml
from estimates import elbo
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from scipy import stats

from pyrovae import VAE, UserError
from pyrovae.contexts.none import NoContext
from pyrovae.contracts import Attribute, DataSpec
from pyrovae.families import Bernoulli, Binomial, Normal
from pyrovae.families.delta import Delta
from pyrovae.families.flow import Flow
from pyrovae.networks.linear import Linear
from pyrovae.networks.mlp import Mlp
from pyrovae.preprocess.binarise import Binarise
from pyrovae.preprocess.dequantise import Dequantise
from pyrovae.preprocess.none import NoPreprocess
from pyrovae.preprocess.standardise import Standardise
from pyrovae.priors.bernoulli import FixedBernoulli
from pyrovae.priors.normal import StandardNormal

SHAPE = (3, 4)
LATENTS = 2


@pytest.fixture(autouse=True)
def own_param_store():
    with pyro.get_param_store().scope():
        yield


def bit_vae(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(SHAPE, LATENTS, "bernoulli", network={"name": "mlp", "hidden": [16]}, kind="binary")


def two_patterns(count: int = 64) -> torch.Tensor:
    """Bits: one of two patterns each, with one bit in twenty flipped."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.bernoulli(torch.full((2, *SHAPE), 0.5), generator=generator)
    chosen = patterns[torch.randint(2, (count,), generator=generator)]
    flips = torch.bernoulli(torch.full(chosen.shape, 0.05), generator=generator)
    return (chosen + flips) % 2


def own_loop(vae: VAE, x: torch.Tensor, steps: int = 100) -> np.ndarray:
    """A user's own training loop; the losses per datum."""
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    torch.manual_seed(5)
    return np.array([svi.step(x) / len(x) for _ in range(steps)])


def weights(vae: VAE) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in vae.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_falls(losses: np.ndarray, ends: int = 20) -> None:
    """The last losses lie below the first by more than four standard errors of the difference."""
    first, last = losses[:ends], losses[-ends:]
    error = math.sqrt((first.var(ddof=1) + last.var(ddof=1)) / ends)
    assert first.mean() - last.mean() > 4 * error


def assert_all_trained(vae: VAE, before: dict[str, torch.Tensor]) -> None:
    unchanged = [name for name, parameter in vae.named_parameters() if torch.equal(parameter, before[name])]
    assert unchanged == []


# --- training by Pyro's own means ---------------------------------------------------------------------------------------


def test_own_loop_trains_every_parameter():
    vae, x = bit_vae(), two_patterns()
    before = weights(vae)
    assert_falls(own_loop(vae, x))
    assert_all_trained(vae, before)


PARTS = [
    {"posterior": "full_normal"},
    {"posterior": {"name": "flow", "hidden": 4}},
    {"prior": "uniform"},
    {"prior": {"name": "vamp", "components": 3}},
    {"prior": "mixture"},
    {"posterior": "delta"},
]


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_own_loop_trains_every_part(parts):
    torch.manual_seed(0)
    vae, x = VAE(SHAPE, LATENTS, "bernoulli", network={"name": "mlp", "hidden": [16]}, kind="binary", **parts), two_patterns()
    before = weights(vae)
    assert_falls(own_loop(vae, x))
    assert_all_trained(vae, before)


def test_two_vaes_in_one_process_train_independently():
    x = two_patterns()
    alone = []
    for seed in (0, 1):
        with pyro.get_param_store().scope():
            vae = bit_vae(seed)
            own_loop(vae, x)
            alone.append(weights(vae))
    together = [bit_vae(seed) for seed in (0, 1)]
    before = [weights(vae) for vae in together]
    for vae in together:
        assert_falls(own_loop(vae, x))
    assert together[0].name != together[1].name
    for vae, start, expected in zip(together, before, alone, strict=True):
        assert_all_trained(vae, start)
        assert same(weights(vae), expected)


def through_pickle(vae: VAE) -> VAE:
    return pickle.loads(pickle.dumps(vae))


# Pyro hangs weak references on the parameters that it has registered, so that a used module cannot be pickled.
@pytest.mark.parametrize(("copied", "used_before"), [(copy.deepcopy, False), (copy.deepcopy, True), (through_pickle, False)])
def test_a_copy_and_its_original_both_train(copied, used_before):
    original, x = bit_vae(), two_patterns()
    if used_before:
        own_loop(original, x, steps=2)
    duplicate = copied(original)
    start = weights(original)
    assert same(weights(duplicate), start)
    assert duplicate.name != original.name

    assert_falls(own_loop(original, x))
    assert_all_trained(original, start)
    assert same(weights(duplicate), start)

    assert_falls(own_loop(duplicate, x))
    assert_all_trained(duplicate, start)
    assert same(weights(duplicate), weights(original))  # the same start, data and noise


# --- Pyro's tools on model and guide ------------------------------------------------------------------------------------


def test_prior_predictive_draws_from_the_model():
    vae = bit_vae()
    drawn = Predictive(vae.model, num_samples=500)()
    assert drawn["z"].shape == (500, 1, LATENTS)
    assert drawn["x"].shape == (500, 1, *SHAPE)
    assert stats.kstest(drawn["z"].flatten().numpy(), "norm").pvalue > 1e-3
    assert set(drawn["x"].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("parallel", [False, True])
def test_posterior_predictive_draws_from_the_guide(parallel):
    vae, x = bit_vae(), two_patterns(5)
    torch.manual_seed(0)
    predictive = Predictive(vae.model, guide=vae.guide, num_samples=400, parallel=parallel, return_sites=("z", "x"))
    drawn = predictive(x)
    assert drawn["z"].shape == (400, 5, LATENTS)
    posterior = vae.posterior_of_preprocessed(x)
    scores = (drawn["z"] - posterior.mean) / posterior.stddev
    assert stats.kstest(scores.flatten().detach().numpy(), "norm").pvalue > 1e-3
    assert torch.equal(drawn["x"].reshape(-1, 5, *SHAPE)[-1], x)


def test_model_without_data_draws_one_and_guide_needs_no_model():
    vae, x = bit_vae(), two_patterns(7)
    assert vae.model().shape == (1, *SHAPE)
    assert vae.guide(x).shape == (7, LATENTS)
    assert torch.equal(vae.model(x), x)


CASES = {
    "bernoulli": ({"likelihood": "bernoulli", "kind": "binary"}, two_patterns(6)),
    "binomial": ({"likelihood": "binomial", "kind": "levels", "levels": 6}, torch.arange(72.0).reshape(6, *SHAPE) % 6),
    "normal": ({"likelihood": {"name": "normal", "scale": 0.5}, "kind": "reals"}, torch.linspace(-2, 2, 72).reshape(6, *SHAPE)),
}


def scipy_log_likelihood(name: str, vae: VAE, y: torch.Tensor, z: torch.Tensor) -> np.ndarray:
    out = vae.decoder(z).detach().double().numpy()[:, 0]
    chance = 1 / (1 + np.exp(-out))
    densities = {
        "bernoulli": lambda x: stats.bernoulli.logpmf(x, chance),
        "binomial": lambda x: stats.binom.logpmf(x, 5, chance),
        "normal": lambda x: stats.norm.logpdf(x, out, 0.5),
    }
    return densities[name](y.numpy()).sum((1, 2))


@pytest.mark.parametrize("name", CASES)
def test_traces_and_log_joint_agree_with_scipy(name):
    options, y = CASES[name]
    torch.manual_seed(0)
    vae = VAE(SHAPE, LATENTS, network={"name": "mlp", "hidden": [5]}, **options)
    guide = poutine.trace(vae.guide).get_trace(y)
    model = poutine.trace(poutine.replay(vae.model, guide)).get_trace(y)
    z = guide.nodes["z"]["value"].detach()
    q = vae.posterior_of_preprocessed(y)

    expected = stats.norm.logpdf(z.numpy()).sum(1) + scipy_log_likelihood(name, vae, y, z)
    expected_guide = stats.norm.logpdf(z.numpy(), q.mean.detach().numpy(), q.stddev.detach().numpy()).sum()
    # float32: 12 + 2 terms of up to about 10 nats per datum, each good to a few units of 1.2e-7 relative
    tolerance = {"rtol": 1e-5, "atol": 1e-4}
    np.testing.assert_allclose(vae.log_joint(y, z).detach().numpy(), expected, **tolerance)
    np.testing.assert_allclose(model.log_prob_sum().item(), expected.sum(), **tolerance)
    np.testing.assert_allclose(model.log_prob_sum().item(), vae.log_joint(y, z).sum().item(), **tolerance)
    np.testing.assert_allclose(guide.log_prob_sum().item(), expected_guide, **tolerance)


def test_the_size_of_the_plate_scales_nothing():
    vae, x = bit_vae(), two_patterns(9)
    z = torch.linspace(-1, 1, 9 * LATENTS).reshape(9, LATENTS)

    def log_joint_sum(rows: slice) -> float:
        model = poutine.condition(vae.model, {"z": z[rows]})
        return poutine.trace(model).get_trace(x[rows]).log_prob_sum().item()

    one_by_one = sum(log_joint_sum(slice(i, i + 1)) for i in range(9))
    assert log_joint_sum(slice(0, 9)) == pytest.approx(one_by_one, rel=1e-5)  # float32 sums of 9 x 14 terms
    whole, part = elbo(vae, x, samples=20), elbo(vae, x[:4], samples=20)
    torch.testing.assert_close(part.estimate, whole.estimate[:4], rtol=1e-5, atol=1e-5)


def test_trace_elbo_agrees_with_our_elbo():
    vae, x = bit_vae(), two_patterns(16)
    pyro_elbo = Trace_ELBO(num_particles=50, max_plate_nesting=1, vectorize_particles=True)
    torch.manual_seed(0)
    theirs = np.array([-pyro_elbo.loss(vae.model, vae.guide, x) / len(x) for _ in range(100)])
    ours = elbo(vae, x, samples=2000)
    error = math.hypot(theirs.std(ddof=1) / math.sqrt(len(theirs)), ours.mean_monte_carlo_error)
    assert abs(theirs.mean() - ours.mean) < 4 * error


@pytest.mark.parametrize("batch", [(), (5,), (3, 5)])
def test_distributions_take_any_batch_shape(batch):
    vae = bit_vae()
    y, z = torch.zeros(*batch, *SHAPE), torch.zeros(*batch, LATENTS)
    assert (vae.prior().batch_shape, vae.prior().event_shape) == ((), (LATENTS,))
    assert (vae.posterior_of_preprocessed(y).batch_shape, vae.posterior_of_preprocessed(y).event_shape) == (batch, (LATENTS,))
    assert (vae.likelihood(z).batch_shape, vae.likelihood(z).event_shape) == (batch, SHAPE)
    assert vae.log_joint(y, z).shape == batch
    assert vae.decode(z).shape == (*batch, *SHAPE)


# --- building -----------------------------------------------------------------------------------------------------------

SPELLINGS = [
    ("likelihood", "normal", Normal(scale="learned"), "reals"),
    ("likelihood", {"name": "normal", "scale": "element"}, Normal(scale="element"), "reals"),
    ("likelihood", {"name": "normal", "scale": 0.5}, Normal(scale=0.5), "reals"),
    ("likelihood", "bernoulli", Bernoulli(), "binary"),
    ("likelihood", {"name": "binomial", "total_count": 5}, Binomial(total_count=5), "counts"),
    ("prior", "normal", StandardNormal(), "binary"),
    ("posterior", "normal", Normal(), "binary"),
    ("posterior", {"name": "normal", "scale": "element"}, Normal(scale="element"), "binary"),
    ("posterior", {"name": "flow", "layers": 1}, Flow(layers=1), "binary"),
    ("posterior", {"name": "delta"}, Delta(), "binary"),
    ("prior", {"name": "bernoulli", "p": 0.2}, FixedBernoulli(p=0.2), "binary"),
    ("network", "linear", Linear(), "binary"),
    ("network", "mlp", Mlp(), "binary"),
    ("network", {"name": "mlp", "hidden": [8, 4], "activation": "tanh"}, Mlp(hidden=(8, 4), activation="tanh"), "binary"),
    ("context", "none", NoContext(), "binary"),
    ("preprocess", "none", NoPreprocess(), "binary"),
    ("preprocess", {"name": "binarise", "threshold": 0.5}, Binarise(threshold=0.5), "reals"),
]


@pytest.mark.parametrize(("role", "spelling", "part", "kind"), SPELLINGS)
def test_names_and_parts_build_the_same(role, spelling, part, kind):
    by_name, by_part = build(role, spelling, kind), build(role, part, kind)
    assert by_name.config() == by_part.config()
    assert shapes(by_name) == shapes(by_part)


def build(role: str, value: object, kind: str) -> VAE:
    parts = {"likelihood": "bernoulli", role: value}
    return VAE(SHAPE, LATENTS, **parts, kind=kind)


def shapes(vae: VAE) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in vae.state_dict().items()}


ROUND_TRIPS = [
    {"likelihood": "bernoulli", "kind": "binary"},
    {"likelihood": "bernoulli", "kind": "levels", "levels": 17},
    {"likelihood": "binomial", "kind": "levels", "levels": 17, "posterior": {"name": "normal", "scale": "learned"}},
    {"likelihood": {"name": "binomial", "total_count": 40}, "kind": "counts"},
    {"likelihood": "normal", "kind": "levels", "levels": 256, "preprocess": Dequantise()},
    {"likelihood": {"name": "normal", "scale": "network"}, "kind": "reals", "network": "linear"},
    {"likelihood": {"name": "normal", "scale": "element"}, "kind": "reals", "preprocess": Standardise(over="everything")},
    {"likelihood": "normal", "kind": None},
    {"likelihood": "bernoulli", "kind": "binary", "prior": "bernoulli"},
    {"likelihood": "bernoulli", "kind": "binary", "posterior": {"name": "flow", "transform": "spline", "layers": 1}},
    {"likelihood": "bernoulli", "kind": "binary", "prior": {"name": "vamp", "components": 3}, "posterior": "full_normal"},
    {"likelihood": "bernoulli", "kind": "binary", "prior": "uniform", "posterior": {"name": "delta", "squash": "sigmoid"}},
    {"likelihood": "bernoulli", "kind": "binary", "labels": [{"name": "class", "values": ["a", "b"]}]},
]


@pytest.mark.parametrize("options", ROUND_TRIPS)
def test_config_round_trip(options):
    torch.manual_seed(0)
    vae = VAE(SHAPE, LATENTS, **options)
    config = vae.config()
    written = yaml.safe_load(yaml.safe_dump(config))
    assert written == config  # plain data, as a file would hold
    again = VAE.from_config(written)
    assert again.config() == config
    assert shapes(again).keys() >= shapes(vae).keys()
    again.load_state_dict(vae.state_dict(), strict=vae.prepared)
    z = torch.linspace(-1, 1, 4 * LATENTS).reshape(4, LATENTS)
    torch.testing.assert_close(again.likelihood(z).mean, vae.likelihood(z).mean, rtol=0, atol=0)


def test_labels_are_attributes_or_plain_data():
    plain = [{"name": "glasses", "values": ["no", "yes"]}, {"name": "smile", "values": ["no", "yes"]}]
    named = (Attribute("glasses", ("no", "yes")), Attribute("smile", ("no", "yes")))
    for labels in (plain, named):
        vae = VAE(SHAPE, LATENTS, kind="binary", labels=labels)
        assert vae.spec.attributes == vae.spec.labels == named
        assert vae.config()["labels"] == plain
    one = VAE(SHAPE, LATENTS, kind="binary", labels=[{"name": "class", "values": [0, 1]}])
    assert one.spec.class_names == ("0", "1")
    assert one.spec.attributes == ()


def test_an_example_is_a_posterior_and_a_prior_for_one_datum_and_leaves_no_trace():
    vae = bit_vae()
    before = torch.random.get_rng_state()
    q, p = vae.example()
    assert (q.batch_shape, q.event_shape, p.event_shape) == ((1,), (LATENTS,), (LATENTS,))
    assert not q.mean.requires_grad
    assert torch.equal(torch.random.get_rng_state(), before)


def test_prepare_is_for_the_data_it_was_built_for():
    vae = bit_vae()
    with pytest.raises(UserError, match=r"shape \(4, 4\).*built for \(3, 4\)"):
        vae.prepare(DataSpec((4, 4), "binary", 2), None)
    with pytest.raises(UserError, match="binary"):
        vae.prepare(DataSpec(SHAPE, "reals"), None)


# --- mistakes -----------------------------------------------------------------------------------------------------------

WRONG = [
    ({"likelihood": "bernouli"}, r"likelihood='bernouli': unknown; did you mean bernoulli .*All: bernoulli, .*normal"),
    ({"likelihood": "binomail"}, r"did you mean binomial"),
    ({"prior": "nromal"}, r"prior='nromal': unknown; did you mean normal\?"),
    ({"posterior": "normale"}, r"posterior='normale': unknown; did you mean normal\b.*All: bernoulli, .*normal"),
    ({"posterior": "bernoulli"}, r"posterior='bernoulli': lives on .*prior='normal' on .*try posterior='normal'$"),
    (
        {"prior": "bernoulli", "posterior": "delta"},
        r"posterior='delta': lives on .*prior='bernoulli' on .*try posterior='bernoulli'$",
    ),
    ({"prior": {"name": "normal", "context": "learned"}}, r"prior\.context='learned': needs a context"),
    ({"context": "label"}, r"context='label': "),
    ({"network": "mpl"}, r"network='mpl': unknown; did you mean mlp\?.*linear, mlp"),
    ({"context": "nnoe"}, r"context='nnoe': unknown; did you mean none\?"),
    (
        {"preprocess": "binarize"},
        r"preprocess='binarize': unknown; did you mean binarise .*All: binarise, .*none, .*standardise",
    ),
    ({"likelihood": 3}, r"likelihood=3: needs a name"),
    ({"likelihood": {"scale": 1.0}}, r"likelihood=.*needs a name"),
    ({"likelihood": {"name": "normal", "sigma": 1.0}}, r"likelihood\.sigma: normal has no such option.*likelihood\.scale"),
    ({"network": {"name": "linear", "hidden": [8]}}, r"network\.hidden: linear has no such option.*no options"),
    ({"likelihood": {"name": "normal", "scale": -1.0}}, r"scale=-1\.0"),
    ({"likelihood": {"name": "normal", "scale": 0}}, r"scale=0"),
    ({"likelihood": {"name": "normal", "scale": math.nan}}, r"scale=nan"),
    ({"likelihood": {"name": "normal", "scale": "learnt"}}, r"scale='learnt'.*learned, element, network"),
    ({"likelihood": {"name": "binomial", "total_count": 0}}, r"likelihood\.total_count=0"),
    ({"network": {"name": "mlp", "hidden": [0]}}, r"network\.hidden=0"),
    ({"network": {"name": "mlp", "hidden": [2.5]}}, r"network\.hidden=2\.5"),
    ({"network": {"name": "mlp", "activation": "sine"}}, r"activation='sine'.*relu.*tanh"),
    ({"preprocess": {"name": "standardise", "over": "rows"}}, r"over='rows'.*data, everything"),
    ({"preprocess": {"name": "binarise", "threshold": math.inf}}, r"threshold=inf"),
    ({"latent_dim": 0}, r"latent_dim=0: needs an integer of at least 1"),
    ({"latent_dim": -2}, r"latent_dim=-2"),
    ({"latent_dim": 2.0}, r"latent_dim=2\.0"),
    ({"latent_dim": True}, r"latent_dim=True"),
    ({"event_shape": ()}, r"event_shape=\(\)"),
    ({"event_shape": (3, 0)}, r"event_shape=0"),
    ({"event_shape": (3, -1)}, r"event_shape=-1"),
    ({"likelihood": "binomial"}, r"levels"),
    ({"likelihood": "binomial", "kind": "levels"}, r"levels"),
    ({"likelihood": "binomial", "kind": "counts"}, r"likelihood\.total_count"),
    ({"likelihood": "binomial", "kind": "levels", "levels": 1}, r"levels=1"),
    ({"likelihood": "binomial", "kind": "levels", "levels": -3}, r"levels=-3"),
    ({"likelihood": "binomial", "kind": "levels", "levels": 2.5}, r"levels=2\.5"),
    ({"likelihood": "bernoulli", "kind": "reals"}, r"bernoulli': does not model data of the kind reals; try likelihood='normal'"),
    (
        {"likelihood": "bernoulli", "kind": "counts"},
        r"bernoulli': does not model .* counts; try likelihood='binomial', .*or 'normal'",
    ),
    ({"likelihood": "binomial", "kind": "reals"}, r"binomial': does not model data of the kind reals"),
    ({"likelihood": "bernoulli", "kind": "colours"}, r"kind='colours'.*binary"),
    ({"likelihood": "bernoulli", "kind": "levels", "levels": 17, "preprocess": "none"}, r"preprocess='binarise'"),
    ({"likelihood": "bernoulli", "kind": "levels", "levels": 17, "preprocess": "dequantise"}, r"likelihood='bernoulli'"),
    ({"likelihood": "normal", "kind": "reals", "preprocess": "dequantise"}, r"reals already"),
    ({"likelihood": "normal", "kind": "levels", "levels": 9, "preprocess": "standardise"}, r"preprocess='dequantise'"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[str(options) for options, _ in WRONG])
def test_mistakes_are_named_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        VAE(**{"event_shape": SHAPE, "latent_dim": LATENTS, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "value", "message"),
    [
        ({"likelihood": "bernoulli", "kind": "binary"}, 0.5, r"0\.5 at \(1, 2, 3\).*likelihood='bernoulli'"),
        ({"likelihood": "binomial", "kind": "levels", "levels": 5}, 5.0, r"5 at \(1, 2, 3\).*likelihood='binomial'"),
        ({"likelihood": "normal", "kind": "reals"}, math.nan, r"nan at \(1, 2, 3\).*likelihood='normal'"),
    ],
)
def test_data_without_a_density_are_refused_with_their_place(options, value, message):
    vae = VAE(SHAPE, LATENTS, **options)
    x = torch.zeros(4, *SHAPE)
    vae.check_support(x)
    x[1, 2, 3] = value
    with pytest.raises(UserError, match=message):
        vae.check_support(x)


# --- what it says of itself --------------------------------------------------------------------------------------------------


def test_device_and_precision_are_those_of_the_weights():
    vae = bit_vae()
    assert (vae.device, vae.dtype) == (torch.device("cpu"), torch.float32)
    assert vae.double().dtype == torch.float64
    assert vae.to("meta").device.type == "meta"
