"""What a Python user passes is taken, whatever number type it has, or refused in one line of ours."""

from __future__ import annotations

import inspect
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyrovae
from pyrovae import VAE, Importance, UserError
from pyrovae.contracts import DataSpec
from pyrovae.errors import check_integer, check_number, check_path, check_seed, plain, shown
from pyrovae.parts import ROLES, defaults, describe, make, option_of
from pyrovae.training.loop import FitResult
from pyrovae.training.settings import DEFAULTS

NUMBERS = [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), 3]
REALS = [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2), 0.5]
HUGE = np.arange(10_000.0)


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: type(value).__name__)
def test_integers_of_every_type_become_pythons_own(value):
    for found in (check_integer("samples", value, 1), check_seed("seed", value), plain(value)):
        assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("value", REALS, ids=lambda value: type(value).__name__)
def test_reals_of_every_type_become_pythons_own(value):
    for found in (check_number("widen", value), plain(value)):
        assert (found, type(found)) == (0.5, float)


NO_INTEGERS = [True, np.True_, torch.tensor(True), 1.5, 3.0, np.float64(3), "3", None, [3], np.array([3]), HUGE, 10**30, -1, 2j]


@pytest.mark.parametrize("value", NO_INTEGERS, ids=lambda value: type(value).__name__)
def test_what_is_no_integer_is_refused_in_a_short_line(value):
    with pytest.raises(UserError, match=r"^samples.*: needs an integer of at (least|most)") as refusal:
        check_integer("samples", value, 1)
    assert len(str(refusal.value)) < 300


NO_NUMBERS = [True, np.False_, "0.5", None, [0.5], HUGE, np.nan, np.float64("inf"), torch.tensor(np.nan), -1.0, 10**400, 1j]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_refused_in_a_short_line(value):
    with pytest.raises(UserError, match=r"^learning_rate.*: needs a finite number above 0") as refusal:
        check_number("learning_rate", value, positive=True)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("value", ["", "  ", None, 3, b"x", "a\0b", ["x"], HUGE], ids=repr)
def test_what_is_no_path_is_refused(value):
    with pytest.raises(UserError, match=r"^out.*: needs a file"):
        check_path("out", value, "a file")


def test_a_name_that_the_file_system_cannot_have_is_refused():
    with pytest.raises(UserError, match=r"^out=x+... .300 characters.: cannot be used"):
        check_path("out", "x" * 300)


def test_arrays_are_shown_by_shape_and_type():
    assert shown(HUGE) == "an array of shape (10000,), float64"
    assert shown(torch.zeros(2, 3, dtype=torch.uint8)) == "an array of shape (2, 3), torch.uint8"
    assert len(shown([0] * 10**6)) < 100


@pytest.mark.parametrize("hold", [lambda x: {"x": x}, lambda x: [x, x], lambda x: (x, [{"y": x}])])
def test_arrays_in_containers_are_shown_without_their_values(hold):
    for array, of in ((torch.full((2, 3), 7.25), "torch.float32"), (np.full((2, 3), 7.25), "float64")):
        text = shown(hold(array))
        assert f"an array of shape (2, 3), {of}" in text
        assert "7.25" not in text
        assert "7.25" not in str(UserError("data", hold(array), "is wrong"))
    assert shown([7.25] * 50) == "a list of 50 numbers"


@pytest.mark.parametrize(("role", "cls"), [("likelihood", ROLES["likelihood"]["normal"]), ("estimator", Importance)])
def test_a_class_in_place_of_an_object_is_refused(role, cls):
    with pytest.raises(UserError, match=rf"is a class; give an object of it, {cls.__name__}\(\)"):
        make(role, cls)


def test_numbers_and_trainings_are_shown_by_what_they_have():
    number = pyrovae.Number(-5.70351, 0.041, 0.0021)
    assert (float(number), repr(number)) == (-5.70351, "Number(-5.7035 +- 0.0410 [0.0021])")
    vae = VAE((3,), 1, "normal")
    found = pyrovae.evaluate(vae, "elbo", data=np.random.default_rng(0).normal(size=(8, 3)), progress=False)
    assert repr(found).endswith(f"n=8, log_evidence=None, elbo={found.elbo!r})")
    assert "\n" not in repr(found)
    fit = FitResult([{"valid_elbo": -1.5, "loss": 2.0}], 1, False, False)
    assert repr(fit) == "FitResult(1 epoch, best_epoch=1, valid_elbo=-1.5)"
    assert (fit.valid_elbo, fit.loss) == (-1.5, 2.0)


# --- options of parts -----------------------------------------------------------------------------------------------------

OPTIONS = [
    (role, name, option) for role, table in ROLES.items() if role != "data" for name in table for option in defaults(role, name)
]


def numpy_of(value: object) -> object:
    """A default as NumPy has it: numbers, text and lists."""
    return {bool: np.bool_, int: np.int64, float: np.float32, str: np.str_}.get(type(value), np.array)(value)


@pytest.mark.parametrize(("role", "name", "option"), OPTIONS)
def test_options_of_parts_may_be_numpys_and_are_recorded_as_plain_data(role, name, option):
    usual = defaults(role, name)[option]
    if usual is None:
        return
    part = make(role, {"name": name, option: numpy_of(usual)})
    assert type(part)(**{option: numpy_of(usual)}) == part or role == "likelihood"
    recorded = describe(role, part)
    assert yaml.safe_load(yaml.safe_dump(recorded)) == recorded
    wanted = list(usual) if isinstance(usual, tuple) else usual
    assert recorded[option] == pytest.approx(wanted) if isinstance(usual, float) else recorded[option] == wanted


BAD = [HUGE, torch.zeros(3, 3), {"a": 1}, object(), b"x", np.True_, 10**400, "x" * 10_000, [[1]]]


@pytest.mark.parametrize(("role", "name", "option"), OPTIONS)
def test_options_of_parts_are_refused_naming_role_and_option(role, name, option):
    for value in BAD:
        if isinstance(value, np.bool_) and isinstance(defaults(role, name)[option], bool):
            continue
        with pytest.raises(UserError) as refusal:
            make(role, {"name": name, option: value})
        assert refusal.value.option == option_of(role, option), value
        assert len(str(refusal.value)) < 600, value


# --- functions ------------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "train": {"epochs": 1, "latent_dim": 2, "network": {"name": "mlp", "hidden": [4]}, "data": {"name": "digits", "valid": 0}},
    "sweep": {"epochs": 1, "latent_dim": 2, "network": {"name": "mlp", "hidden": [4]}, "limit": 2, "samples": 2},
    "evaluate": {"limit": 2, "estimator": {"name": "importance", "samples": 2}},
    "classify": {"limit": 2, "samples": 2},
    "encode": {},
    "decode": {"z": [0.0, 0.0]},
    "sample": {"count": 2},
    "figures": {"only": "samples"},
    "compare": {"limit": 2, "samples": 2},
    "resume": {"epochs": 1},
    "load": {},
    "load_dataset": {},
    "to_arviz": {"limit": 2, "samples": 2},
}
FLAGS = {"tensorboard", "resume", "progress", "evidence"}
WRONG = [
    HUGE,
    torch.zeros(3, 3),
    {},
    [],
    object(),
    b"x",
    True,
    np.True_,
    10**30,
    -1,
    float("nan"),
    "",
    "no\0thing",
    "x" * 10_000,
    2j,
]


def arguments(function: str) -> list[str]:
    """Its parameters, those that stand for the settings of a training one by one."""
    own = list(inspect.signature(getattr(pyrovae, function)).parameters)
    return [name for name in own if name != "settings"] + [name for name in DEFAULTS if "settings" in own and name not in own]


PARAMETERS = [(function, parameter) for function in FUNCTIONS for parameter in arguments(function) if parameter not in FLAGS]


@pytest.fixture(scope="module")
def home(tmp_path_factory, make_run) -> Path:
    folder = tmp_path_factory.mktemp("arguments")
    data = {"name": "digits", "valid": 0}
    for number in (1, 2):
        shutil.copytree(make_run(f"arguments-{number}", data=data, seed=number), folder / f"run{number}")
    shutil.copytree(make_run("arguments-label", data=data, context="label"), folder / "label")
    return folder


@pytest.mark.parametrize(("function", "parameter"), PARAMETERS)
def test_no_argument_of_a_function_ends_in_an_error_that_is_not_ours(home, monkeypatch, tmp_path, function, parameter):
    monkeypatch.chdir(tmp_path)
    call, usual = getattr(pyrovae, function), dict(FUNCTIONS[function])
    names = arguments(function)
    run = home / ("label" if function == "classify" else "run1")
    usual |= {"run": [run, home / "run2"] if function == "compare" else run} if "run" in names else {}
    usual |= {"folder": run} if "folder" in names else {}
    usual |= {"progress": False} if "progress" in names else {}
    lengths = [0]
    for wrong in WRONG:
        try:
            call(**{**usual, parameter: wrong})
        except UserError as error:
            lengths.append(len(str(error)))
    assert max(lengths) < 1000


SPARE = VAE((8, 8), 2, network="linear")
OBJECTS = {
    "VAE": {
        "event_shape": (8, 8),
        "latent_dim": 2,
        "likelihood": "bernoulli",
        "prior": "normal",
        "posterior": None,
        "network": "linear",
        "context": "none",
        "preprocess": "auto",
        "kind": None,
        "levels": None,
        "labels": (),
    },
    "fit": {
        "vae": SPARE,
        "dataset": None,
        "epochs": 1,
        "batch_size": 500,
        "learning_rate": 1e-3,
        "clip_norm": 1.0,
        "kl_weight": 1.0,
        "kl_warmup": 0.0,
        "patience": 0,
        "objective": "auto",
        "particles": 1,
        "seed": 0,
        "device": "cpu",
        "progress": False,
    },
    "save": {"vae": SPARE, "folder": "saved"},
}


@pytest.mark.parametrize(("function", "parameter"), [(f, p) for f, options in OBJECTS.items() for p in options])
def test_no_argument_of_what_takes_objects_ends_in_an_error_that_is_not_ours(digits, here, function, parameter):
    usual = dict(OBJECTS[function])
    if function == "fit":
        usual["dataset"] = digits
    refusals = []
    for wrong in [*WRONG, None]:
        try:
            getattr(pyrovae, function)(**{**usual, parameter: wrong})
        except UserError as error:
            refusals.append(str(error))
        shutil.rmtree(here / "saved", ignore_errors=True)
    assert refusals
    assert [text for text in refusals if "\n" in text] == []


def test_numbers_of_numpy_and_paths_are_taken_by_every_function_and_recorded_as_plain_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"learning_rate": np.float64(0.002), "clip_norm": np.float32(5), "kl_weight": np.array(1.0), "seed": np.int64(3)}
    sizes = {"epochs": np.int64(1), "latent_dim": np.int32(2), "batch_size": torch.tensor(500), "patience": np.uint8(0)}
    network = {"name": np.str_("mlp"), "hidden": np.array([16, 8])}
    made = pyrovae.train(**options, **sizes, network=network, out=tmp_path / "run", device=torch.device("cpu"), progress=False)
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert (config["learning_rate"], config["seed"], config["latent_dim"], config["batch_size"]) == (0.002, 3, 2, 500)
    assert (config["network"], config["device"]) == ({"name": "mlp", "hidden": [16, 8], "activation": "relu"}, "cpu")

    found = pyrovae.evaluate(
        tmp_path / "run", Importance(samples=np.int64(3)), limit=np.int64(5), seed=np.int64(1), json=tmp_path / "numbers.json"
    )
    same = pyrovae.evaluate(str(tmp_path / "run"), Importance(samples=3), limit=5, seed=1)
    assert (found.log_evidence, found.samples) == (same.log_evidence, 3)
    assert (tmp_path / "numbers.json").is_file()
    pyrovae.sample(tmp_path / "run", count=np.int64(2), seed=np.int64(1), out=tmp_path / "drawn.npz")
    pyrovae.encode(made.vae, data=made.dataset, out=tmp_path / "codes.npz")
    assert len(np.load(tmp_path / "drawn.npz")["z"]) == 2
    assert pyrovae.resume(tmp_path / "run", epochs=np.int64(2), progress=False).fit.history[-1]["epoch"] == 2
    np.save(tmp_path / "data.npy", np.zeros((20, 3)) + np.arange(20)[:, None])
    assert pyrovae.load_dataset(tmp_path / "data.npy").spec.event_shape == (3,)


def test_a_vae_takes_sizes_of_numpy_and_describes_itself_as_plain_data():
    vae = VAE(np.array([8, 8]), np.int64(2), "binomial", levels=np.int64(17))
    config = vae.config()
    assert yaml.safe_load(yaml.safe_dump(config)) == config
    assert (config["event_shape"], config["latent_dim"], config["levels"]) == ([8, 8], 2, 17)


@pytest.mark.parametrize("event_shape", [8, "88", (), (8, 0), (8, True), None, HUGE, (8, 2.0)], ids=repr)
def test_a_shape_that_is_none_is_refused(event_shape):
    with pytest.raises(UserError, match=r"event.shape"):
        VAE(event_shape, 2)


# --- latents, data and contexts ---------------------------------------------------------------------------------------------


def test_latents_are_decoded_whatever_numbers_they_are_given_as():
    vae = VAE((8, 8), 2, "normal")
    z = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    expected = pyrovae.decode(vae, z)
    for given in (z.double(), z.long(), z.numpy(), z.numpy().astype(int), z.tolist(), z.half()):
        assert torch.equal(pyrovae.decode(vae, given), expected)
        assert torch.equal(vae.decode(given), expected)


@pytest.mark.parametrize("z", [torch.zeros(3), 0.0, "z", None, [["a", "b"]], torch.zeros(2, dtype=torch.complex64), object()])
def test_latents_that_are_none_are_refused(z):
    for decode in (VAE((8, 8), 2).decode, lambda z: pyrovae.decode(VAE((8, 8), 2), z)):
        with pytest.raises(UserError, match=r"^z\b"):
            decode(z)


def test_a_class_may_be_given_as_the_number_that_it_is_called(make_run):
    run = make_run("digits-label", context="label", likelihood="binomial")
    expected = pyrovae.sample(run, count=3, given="7")
    for given in (7, np.int64(7), torch.tensor(7)):
        assert torch.equal(pyrovae.sample(run, count=3, given=given).x, expected.x)
        assert torch.equal(pyrovae.decode(run, expected.z, given=given), expected.mean)
    for given in (True, 7.5, ["7"], object(), HUGE):
        with pytest.raises(UserError, match=r"^given(=| \(an array).*: needs the name of a class"):
            pyrovae.sample(run, count=3, given=given)


@pytest.fixture(scope="module")
def digits():
    return pyrovae.load_dataset("digits")


def prepared(likelihood: object, **options: object) -> VAE:
    return VAE((8, 8), 2, likelihood, kind="levels", levels=17, **options)


def test_encode_takes_data_as_they_were_given(digits):
    vae = prepared("binomial")
    x = digits.test.x
    means = pyrovae.encode(vae, data=digits, split="test").mean
    for given in (x, x.numpy(), x.double(), x.float()):
        torch.testing.assert_close(vae.encode(given).mean.detach(), means)
    assert vae.encode(x[0]).batch_shape == ()


def test_encode_preprocesses_with_the_noise_that_it_is_given_or_draws_it_afresh(digits):
    vae, x = prepared("normal"), digits.test.x
    u = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    expected = vae.posterior_of_preprocessed((x + u) / 17).mean
    torch.testing.assert_close(vae.encode(x, u=u).mean, expected)
    torch.testing.assert_close(vae.encode(x, u=u.double().numpy()).mean, expected)
    torch.manual_seed(5)
    first, second = vae.encode(x).mean, vae.encode(x).mean
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(vae.encode(x).mean, first)


def test_encode_conditions_on_labels(make_run, digits):
    vae = pyrovae.load(make_run("digits-label", context="label", likelihood="binomial"))
    split = digits.test
    expected = pyrovae.encode(vae, data=digits, split="test").mean
    torch.testing.assert_close(vae.encode(split.x, split.y).mean.detach(), expected)
    with pytest.raises(UserError, match="label"):
        vae.encode(split.x)


def test_encode_and_decode_speak_the_units_of_the_data():
    """A linear model of standardised rows: both sides as NumPy computes them from the rows as they are."""
    x = torch.from_numpy(np.random.default_rng(0).normal([1000.0, -3.0], [50.0, 0.1], (40, 2)))
    vae = VAE((2,), 1, "normal", network="linear", preprocess="standardise")
    vae.prepare(DataSpec((2,), "reals"), x)
    encoder, decoder = vae.encoder.layers[0], vae.decoder.layers[0]
    mean, scale = x.numpy().mean(0), x.numpy().std(0)
    z = ((x.numpy() - mean) / scale) @ encoder.weight.detach().numpy()[:1].T + encoder.bias.detach().numpy()[:1]
    np.testing.assert_allclose(vae.encode(x).mean.detach().numpy(), z, rtol=1e-5, atol=1e-6)
    decoded = (z @ decoder.weight.detach().numpy()[:2].T + decoder.bias.detach().numpy()[:2]) * scale + mean
    np.testing.assert_allclose(vae.decode(z).detach().numpy(), decoded, rtol=1e-6)
    assert not hasattr(vae, "posterior")  # of rows as they are it would be another density


@pytest.mark.parametrize("c", [[3, 5], np.array([3, 5]), torch.tensor([3, 5]), torch.tensor([3.0, 5.0])])
def test_contexts_may_be_a_list_an_array_or_a_tensor(make_run, digits, c):
    vae = pyrovae.load(make_run("digits-label", context="label", likelihood="binomial"))
    expected = vae.encode(digits.x[:2], torch.tensor([3, 5]))
    assert torch.equal(vae.encode(digits.x[:2], c).mean, expected.mean)
    assert torch.equal(vae.decode(expected.mean, c), vae.decode(expected.mean, torch.tensor([3, 5])))


@pytest.mark.parametrize("c", [[0.5, 1.0], [-1, 2], ["3", "5"]])
def test_contexts_that_are_no_codes_are_refused(make_run, digits, c):
    vae = pyrovae.load(make_run("digits-label", context="label", likelihood="binomial"))
    with pytest.raises(UserError, match=r"^c\b.*needs"):
        vae.encode(digits.x[:2], c)
    with pytest.raises(UserError, match=r"^c\b.*needs"):
        vae.decode(torch.zeros(2, vae.latent_dim), c)


@pytest.mark.parametrize(
    ("likelihood", "options", "kind", "units"),
    [
        ("normal", {"kind": "reals"}, "density", "log density in the units of the data"),
        ("poisson", {"kind": "counts"}, "exact", "log probability of the data"),
        ("binomial", {"levels": 17}, "exact", "log probability of the data"),
    ],
)
def test_a_vae_says_what_its_numbers_are(likelihood, options, kind, units):
    vae = VAE((2,), 1, likelihood, **options)
    assert vae.bits_kind == kind
    assert vae.units == vae.units_of_draws == f"nats per datum ({units}), higher is better"


def test_bounds_and_their_draws_are_told_apart():
    vae = prepared("beta")
    assert "bound" in vae.bits_kind
    assert vae.bits_kind in vae.units
    assert "log density of dequantised data" in vae.units_of_draws


BYTES = torch.full((2, 8, 8), 16)


@pytest.mark.parametrize(
    ("likelihood", "y"),
    [
        ("bernoulli", BYTES),
        ("bernoulli", BYTES.to(torch.uint8)),
        ("bernoulli", BYTES.float()),
        ("bernoulli", torch.full((2, 8, 8), 0.5)),
        ("bernoulli", BYTES.numpy()),
        ("binomial", BYTES),
        ("binomial", BYTES.float() + 0.5),
        ("binomial", BYTES.float() * 2),
        ("normal", BYTES.to(torch.uint8)),
        ("normal", BYTES.float()),
        ("beta", BYTES.float()),
        ("beta", torch.zeros(2, 8, 8)),
        ("continuous_bernoulli", BYTES.float()),
    ],
)
def test_posterior_refuses_what_cannot_be_preprocessed_data(likelihood, y):
    with pytest.raises(UserError, match=r"^y .*vae\.encode\(x\)"):
        prepared(likelihood).posterior_of_preprocessed(y)


@pytest.mark.parametrize("likelihood", ["bernoulli", "binomial", "normal", "beta", "continuous_bernoulli", "logistic"])
def test_posterior_takes_what_training_takes(likelihood, digits):
    vae, x = prepared(likelihood), digits.test.x
    y = vae.transform(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    assert vae.posterior_of_preprocessed(y).batch_shape == (len(x),)
    torch.testing.assert_close(vae.posterior_of_preprocessed(y.double()).mean, vae.posterior_of_preprocessed(y).mean)
    drawn = vae.likelihood(torch.zeros(5, 2)).sample()
    assert vae.posterior_of_preprocessed(drawn).batch_shape == (5,)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.full((2, 8, 8), 17), r"^x .*: has 17 at \(0, 0, 0\); .*integers 0\.\.16"),
        (torch.full((2, 8, 8), 0.5), r"^x .*: has 0\.5 at \(0, 0, 0\)"),
        (torch.full((2, 8, 8), float("nan")), r"^x .*: has nan"),
        (torch.zeros(2, 8, 9), r"^x .*shape \(2, 8, 9\).*: needs shape \(\.\.\., 8, 8\)"),
        (torch.zeros(8), r"^x .*shape \(8,\).*: needs shape"),
        ("pictures", "x='pictures': needs a tensor, an array or a list of numbers"),
    ],
)
def test_encode_refuses_what_such_data_cannot_be(x, words):
    with pytest.raises(UserError, match=words):
        prepared("binomial").encode(x)


def test_encode_refuses_noise_that_is_none_and_a_vae_that_has_not_met_its_data():
    x = torch.zeros(2, 8, 8)
    for u in (torch.ones(2, 8, 8), torch.zeros(8, 8), -torch.ones(2, 8, 8), "noise"):
        with pytest.raises(UserError, match=r"^u\b"):
            prepared("normal").encode(x, u=u)
    with pytest.raises(UserError, match="draws no noise"):
        prepared("binomial").encode(x, u=torch.zeros(2, 8, 8))
    with pytest.raises(UserError, match="has not met its data"):
        VAE((8, 8), 2).encode(x)


def test_the_choices_of_a_sweep_may_be_an_array(tmp_path):
    options = {**FUNCTIONS["sweep"], "likelihood": "binomial", "progress": False, "out": tmp_path / "all"}
    found = pyrovae.sweep(**{**options, "latent_dim": np.array([1, 2]), "seed": torch.tensor([3])})
    assert sorted(row["latent_dim"] for row in map(read, found.runs)) == [1, 2]
    assert [read(folder)["seed"] for folder in found.runs] == [3, 3]
    with pytest.raises(UserError, match=r"^latent_dim='2': given twice"):
        pyrovae.sweep(**{**options, "latent_dim": np.array([2, 2])})


def read(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text())
