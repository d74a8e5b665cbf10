"""A run's files belong together: an edited configuration, a state of another training and forged contents are refused by name."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import pyrovae
from pyrovae import Importance, UserError, commands, runs
from pyrovae.system.tensorfiles import read_tensors, write_tensors

TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "epochs": 2, "device": "cpu", "progress": False}
QUICK = {"estimator": Importance(samples=2), "limit": 5, "device": "cpu"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Callable[..., Path]:
    """A run, trained once for the file; not to be written to."""
    home, made = tmp_path_factory.mktemp("trained"), {}

    def train(**options) -> Path:
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            made[key] = commands.train(**{**TINY, **options}, out=str(home / str(len(made)))).run
        return made[key]

    return train


@pytest.fixture
def normal_run(trained, tmp_path) -> Path:
    return shutil.copytree(trained(likelihood="normal", preprocess="dequantise"), tmp_path / "run")


def edit(run: Path, *keys: str, value: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    part = config
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


# --- the configuration and the weights ------------------------------------------------------------------------------------------

EDITS = {
    "network.activation tanh": ("network", "activation"),
    "likelihood laplace": ("likelihood", "name"),
    "likelihood.scale element": ("likelihood", "scale"),
    "prior laplace": ("prior", "name"),
    "posterior full_normal": ("posterior", "name"),
    "posterior.scale learned": ("posterior", "scale"),
    "network.hidden [9]": ("network", "hidden"),
    "latent_dim 3": ("latent_dim",),
    "preprocess auto": ("preprocess",),
    "levels 18": ("run", "data", "levels"),
    "kind counts": ("run", "data", "kind"),
    "event_shape [64]": ("run", "data", "event_shape"),
}


@pytest.mark.parametrize("edited", EDITS)
def test_an_edited_option_of_the_model_is_refused_by_name(normal_run, cli, edited):
    """The shapes of the weights fit most of these, and the numbers would be those of a model that nobody trained."""
    edit(normal_run, *EDITS[edited], value=yaml.safe_load(edited.split(" ", 1)[1]))
    answer = cli("evaluate", normal_run, "--samples", 2)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    if edited.split(".")[0].split(" ")[0] not in ("levels", "kind", "event_shape", "posterior"):
        assert f"config.yaml: has {edited}, and the weights were made with" in answer.err
    assert "config.yaml" in answer.err


def test_options_that_make_no_model_may_be_edited(normal_run):
    before = commands.evaluate(normal_run, **QUICK).log_evidence
    for key, value in (("epochs", 7), ("device", "auto"), ("batch_size", 3)):
        edit(normal_run, key, value=value)
    assert commands.evaluate(normal_run, **QUICK).log_evidence == before


def test_another_model_with_these_weights_is_had_by_saying_so(normal_run):
    """It is what the same weights are in a model that was built so; and every use says it."""
    edit(normal_run, "network", "activation", value="tanh")
    edit(normal_run, "run", "edited", value=True)
    said = (
        "has network.activation tanh, and the weights were made with relu: another model than was trained, as edited: true says"
    )
    with pytest.warns(UserWarning, match=said):
        loaded = pyrovae.load(normal_run)
    built = pyrovae.VAE(**{**loaded.config(), "network": {**TINY["network"], "activation": "tanh"}})
    built.load_state_dict(read_tensors(normal_run / runs.MODEL)[0])
    z = torch.linspace(-2, 2, 20).reshape(10, 2)
    assert torch.equal(loaded.decode(z), built.decode(z))
    with pytest.raises(UserError, match=r"state\.safetensors: is of a training with network\.activation relu, and config"):
        commands.resume(normal_run, epochs=3, device="cpu", progress=False)


def test_weights_without_a_record_open_as_before(normal_run):
    before = commands.evaluate(normal_run, **QUICK).log_evidence
    for name in (runs.MODEL, runs.STATE):
        tensors, plain = read_tensors(normal_run / name)
        del plain["made_with"]
        write_tensors(normal_run / name, tensors, plain, normal_run)
    assert commands.evaluate(normal_run, **QUICK).log_evidence == before
    assert len(commands.resume(normal_run, epochs=3, device="cpu", progress=False).fit.history) == 3


def test_an_option_that_a_later_version_adds_is_its_default_in_what_was_written_before(normal_run):
    tensors, plain = read_tensors(normal_run / runs.MODEL)
    del plain["made_with"]["network"]["activation"]  # as if networks had had none
    write_tensors(normal_run / runs.MODEL, tensors, plain, normal_run)
    assert pyrovae.load(normal_run).latent_dim == 2


# --- the state ------------------------------------------------------------------------------------------------------------------


def test_two_trainings_that_are_the_same_write_the_same_files(tmp_path):
    """But for the log of how long they took."""
    made = [commands.train(**TINY, out=str(tmp_path / name)).run for name in ("first", "second")]
    for name in (runs.CONFIG, runs.MODEL, runs.STATE):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes()
    stopped = commands.train(**{**TINY, "epochs": 1}, out=str(tmp_path / "stopped")).run
    commands.resume(stopped, epochs=2, device="cpu", progress=False)
    for name in (runs.CONFIG, runs.MODEL, runs.STATE):
        assert (made[0] / name).read_bytes() == (stopped / name).read_bytes()


def test_resuming_keeps_the_seconds_and_goes_on_from_them(run, tmp_path):
    before = runs.read_metrics(run)
    header = (run / runs.METRICS).read_text().splitlines()[0]
    text = json.loads((run / runs.SECONDS).read_text())
    (run / runs.SECONDS).write_text(json.dumps({**text, "total": text["total"] + 1000}))
    commands.resume(run, epochs=2, device="cpu", progress=False)
    after = runs.read_metrics(run)
    assert after[0] == before[0]
    assert (run / runs.METRICS).read_text().splitlines()[0] == header
    assert after[1]["seconds"] > 1000


def test_a_state_that_holds_its_seconds_goes_on_as_before(run):
    """As states were written once."""
    tensors, plain = read_tensors(run / runs.STATE)
    del plain["made_with"]
    history = [{**row, "seconds": 5.0} for row in plain["history"]]
    write_tensors(run / runs.STATE, tensors, {**plain, "seconds": 7.0, "history": history}, run)
    (run / runs.SECONDS).unlink()
    commands.resume(run, epochs=2, device="cpu", progress=False)
    first, second = (row["seconds"] for row in runs.read_metrics(run))
    assert (first, second > 7) == (5.0, True)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"total": 1}', '{"total": 1, "epochs": []}', '{"total": "1", "epochs": [1]}']
)
def test_a_false_log_of_seconds_is_said_and_not_believed(run, content):
    (run / runs.SECONDS).write_text(content)
    with pytest.warns(UserWarning, match=r"seconds\.json: is damaged .* how long the run has trained is not known"):
        commands.resume(run, epochs=2, device="cpu", progress=False)
    assert math.isnan(runs.read_metrics(run)[0]["seconds"])
    assert runs.read_metrics(run)[1]["seconds"] > 0


OTHERS = {
    "seed 1": {"seed": 1},
    "learning_rate 0.01": {"learning_rate": 0.01},
    "likelihood binomial": {"likelihood": "binomial"},
    "split_sha256 ": {"data": {"name": "digits", "split_seed": 1}},
}


@pytest.mark.parametrize("named", OTHERS)
def test_the_state_of_another_training_is_refused_by_name(trained, tmp_path, named):
    run = shutil.copytree(trained(), tmp_path / "run")
    shutil.rmtree(run / "training_state")
    shutil.copytree(trained(**OTHERS[named]) / "training_state", run / "training_state")
    with pytest.raises(UserError, match=rf"state\.safetensors: is of a training with {named}.*, and config\.yaml has"):
        commands.resume(run, epochs=3, device="cpu", progress=False)


def test_a_learning_rate_that_was_edited_is_refused_when_training_goes_on(trained, tmp_path, cli):
    run = shutil.copytree(trained(), tmp_path / "run")
    edit(run, "learning_rate", value=0.5)
    answer = cli("train", "--resume", "--epochs", 3, "--out", run)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "is of a training with learning_rate 0.001, and config.yaml has 0.5" in answer.err


# --- forged: the digest is right and the contents are not ----------------------------------------------------------------------

PLAIN = {
    "no_epoch": lambda plain: plain.pop("epoch"),
    "epoch_of_text": lambda plain: plain.update(epoch="2"),
    "negative_step": lambda plain: plain.update(step=-1),
    "true_step": lambda plain: plain.update(step=True),
    "loss_of_text": lambda plain: plain.update(loss_sum="much"),
    "no_history": lambda plain: plain.pop("history"),
    "history_of_text": lambda plain: plain.update(history="abc"),
    "short_history": lambda plain: plain["history"].pop(),
    "row_of_text": lambda plain: plain["history"].__setitem__(0, "row"),
    "word_in_a_row": lambda plain: plain["history"][0].update(loss="low"),
    "no_score": lambda plain: [row.pop("valid_elbo") for row in plain["history"]],
    "no_param_groups": lambda plain: plain.pop("param_groups"),
    "groups_of_text": lambda plain: plain.update(param_groups="lr"),
    "two_groups": lambda plain: plain["param_groups"].append(plain["param_groups"][0]),
    "fewer_parameters": lambda plain: plain["param_groups"][0]["params"].pop(),
    "rate_of_text": lambda plain: plain["param_groups"][0].update(lr="fast"),
    "betas_of_text": lambda plain: plain["param_groups"][0].update(betas="ab"),
    "made_with_a_list": lambda plain: plain.update(made_with=[1]),
    "made_with_text": lambda plain: plain.update(made_with="x"),
}
TENSORS = {
    "no_weight": lambda tensors: tensors.pop(next(name for name in tensors if name.startswith("weights/"))),
    "other_best": lambda tensors: tensors.update({next(n for n in tensors if n.startswith("best/")): torch.zeros(3)}),
    "no_random": lambda tensors: tensors.pop("random/cpu"),
    "other_random": lambda tensors: tensors.update({"random/cpu": torch.zeros(7)}),
    "short_moments": lambda tensors: tensors.update({"optimizer/0/exp_avg": torch.zeros(1)}),
    "no_moments": lambda tensors: tensors.pop("optimizer/0/exp_avg_sq"),
    "slot_of_text": lambda tensors: tensors.update({"optimizer/x/step": torch.zeros(())}),
    "slot_too_many": lambda tensors: tensors.update({"optimizer/99/step": torch.zeros(())}),
    "unknown_group": lambda tensors: tensors.update({"strange/x": torch.zeros(1)}),
    "nan_weight": lambda tensors: tensors[next(name for name in tensors if name.startswith("weights/"))].fill_(math.nan),
}


@pytest.mark.parametrize("forged", [*PLAIN, *TENSORS])
def test_a_forged_state_is_refused_in_one_line(trained, tmp_path, cli, forged):
    run = shutil.copytree(trained(), tmp_path / "run")
    tensors, plain = read_tensors(run / runs.STATE)
    if forged in PLAIN:
        PLAIN[forged](plain)
    else:
        TENSORS[forged](tensors)
    write_tensors(run / runs.STATE, tensors, plain, run)
    answer = cli("train", "--resume", "--epochs", 3, "--out", run)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer.err
    assert "training_state/state.safetensors: " in answer.err


def forge_header(run: Path, metadata: object) -> None:
    content = (run / runs.MODEL).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"pyrovae": metadata if isinstance(metadata, str) else json.dumps(metadata)}
    text = json.dumps(header).encode()
    (run / runs.MODEL).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


WRONG_METADATA = [
    "",
    "[" * 10_000,
    [],
    1,
    None,
    {},
    {"plain": 1, "sha256": "x"},
    {"plain": "{}", "sha256": 1},
    {"plain": "[1", "sha256": "x"},
]
WRONG_PLAIN = [[], {"made_with": 1}, {"made_with": [1]}, {"made_with": {"network": {"name": "strange"}}}]


@pytest.mark.parametrize("metadata", WRONG_METADATA, ids=lambda value: str(value)[:20])
def test_metadata_of_a_wrong_type_are_refused_in_one_line(run, cli, metadata):
    forge_header(run, metadata)
    answer = cli("sample", run)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "model.safetensors: is damaged" in answer.err


@pytest.mark.parametrize("plain", WRONG_PLAIN, ids=str)
def test_a_description_of_a_wrong_type_is_refused_in_one_line(run, cli, plain):
    write_tensors(run / runs.MODEL, read_tensors(run / runs.MODEL)[0], plain, run)
    answer = cli("sample", run)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "the weights were made with" in answer.err or "model.safetensors: is damaged" in answer.err


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(run, cli, value):
    tensors, plain = read_tensors(run / runs.MODEL)
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = value
    write_tensors(run / runs.MODEL, tensors, plain, run)
    answer = cli("evaluate", run, "--samples", 2)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"model.safetensors: has numbers in {name} that are not finite" in answer.err
