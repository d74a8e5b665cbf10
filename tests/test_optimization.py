"""Optimizers and schedules of the learning rate: they are torch's, and a training that stopped goes on to the same last bit."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import yaml
from test_training import STEPS_AN_EPOCH, after_steps, assert_same_run, press_ctrl_c, tiny_vae
from torch.optim import lr_scheduler

import pyrovae
from pyrovae import UserError, commands, fit, runs
from pyrovae.engines import Eager
from pyrovae.optimizers import OPTIMIZERS, Sgd
from pyrovae.parts import make
from pyrovae.runs.binding import with_newer
from pyrovae.runs.states import check_fits
from pyrovae.schedules import SCHEDULES, Cosine, Plateau, WarmupCosine
from pyrovae.training.settings import SharedOptions, Training, TrainingOptions, chosen_training

TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "device": "cpu", "progress": False}
QUIET = {"device": "cpu", "progress": False}

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "adam": [{}, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3}],
    "adamw": [{}, {"beta1": 0.5}],
    "sgd": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    "adagrad": [{}, {"eps": 1e-3}],
}
THEIRS = {
    "adam": lambda w, lr, wd, beta1=0.9, beta2=0.999, eps=1e-8: torch.optim.Adam(
        w, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=wd, fused=True
    ),
    "adamw": lambda w, lr, wd, beta1=0.9: torch.optim.AdamW(w, lr=lr, betas=(beta1, 0.999), weight_decay=wd, fused=True),
    "sgd": lambda w, lr, wd, **options: torch.optim.SGD(w, lr=lr, weight_decay=wd, fused=True, **options),
    "adagrad": lambda w, lr, wd, eps=1e-10: torch.optim.Adagrad(w, lr=lr, weight_decay=wd, eps=eps),
}


def each(options: dict[str, list[dict[str, Any]]]) -> list[Any]:
    return [pytest.param(name, one, id=f"{name} {one}") for name, listed in options.items() for one in listed]


def toy() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([3.0, -1.0, 0.5]))


def loss(w: torch.Tensor, step: int) -> torch.Tensor:
    return ((w - torch.tensor([1.0, 2.0, -0.3 * step])) ** 2 * torch.tensor([1.0, 10.0, 0.1])).sum()


# --- optimizers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(("name", "options"), each(OPTIONS))
def test_updates_are_those_of_torchs_optimizer(name, options, weight_decay):
    ours, theirs = toy(), toy()
    training = Training(learning_rate=0.05, optimizer={"name": name, **options}, weight_decay=weight_decay)
    optimizers = {
        "ours": (ours, training.build_optimizer([ours])),
        "theirs": (theirs, THEIRS[name]([theirs], 0.05, weight_decay, **options)),
    }
    for step in range(30):
        for weights, optimizer in optimizers.values():
            optimizer.zero_grad()
            loss(weights, step).backward()
            optimizer.step()
        assert torch.equal(ours, theirs)
    assert not torch.equal(ours, toy())


def test_every_optimizer_and_schedule_of_the_tables_is_tried():
    assert set(OPTIONS) == set(THEIRS) == set(OPTIMIZERS)
    assert {name for name, _ in SCHEDULED} == set(SCHEDULES)


@pytest.mark.parametrize(("name", "expected"), [("adam", 0.0), ("adamw", 0.01), ("sgd", 0.0), ("adagrad", 0.0)])
def test_weight_decay_is_torchs_unless_another_is_asked_for(name, expected):
    torchs = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad}
    assert torchs[name]([toy()], lr=0.1).defaults["weight_decay"] == expected
    assert Training(optimizer=name).options()["weight_decay"] == expected
    assert Training(optimizer=name, weight_decay=0.2).build_optimizer([toy()]).defaults["weight_decay"] == 0.2


def test_weight_decay_of_adamw_shrinks_the_weights_and_that_of_adam_is_in_the_gradient():
    """Without a gradient: adamw multiplies by 1 - rate W; adam's first step has the size of the rate whatever W is."""
    after = {}
    for name in ("adam", "adamw"):
        weights = toy()
        optimizer = Training(learning_rate=0.1, optimizer=name, weight_decay=0.5).build_optimizer([weights])
        weights.grad = torch.zeros(3)
        optimizer.step()
        after[name] = weights.detach()
    torch.testing.assert_close(after["adamw"], toy().detach() * (1 - 0.1 * 0.5), rtol=1e-6, atol=0)
    torch.testing.assert_close(after["adam"], toy().detach() - 0.1 * toy().detach().sign(), rtol=1e-6, atol=0)  # eps is 1e-8


def test_weight_decay_reaches_the_weights_of_a_model(tmp_path):
    """Strong enough, it takes all weights to 0: under adamw with rate x W = 1/2 they halve at every step."""
    small = {}
    for decay in (0.0, 50.0):
        vae = tiny_vae()
        fit(vae, pyrovae.load_dataset("digits"), epochs=1, optimizer="adamw", learning_rate=0.01, weight_decay=decay, **QUIET)
        small[decay] = max(parameter.abs().max().item() for parameter in vae.parameters())
    assert small[50.0] < 0.05 < small[0.0]  # at most the last few steps of 0.01 are left


# --- schedules ------------------------------------------------------------------------------------------------------------

SCHEDULED = [
    ("constant", {}),
    ("step", {"every": 2, "factor": 0.5}),
    ("plateau", {"patience": 0, "factor": 0.5}),
    ("cosine", {}),
    ("cosine", {"epochs": 2, "floor": 0.1}),
    ("warmup-cosine", {}),
    ("warmup-cosine", {"warmup": 1.5, "epochs": 3, "floor": 0.2}),
]


def by_hand(name: str, options: dict[str, Any], epochs: int, steps: int, scores: list[float]) -> list[float]:
    """The learning rate of each step, by torch's own classes in the loop that torch's documentation has."""
    optimizer = torch.optim.SGD([toy()], lr=0.01)
    whole = (options.get("epochs") or epochs) * steps
    lowest = 0.01 * options.get("floor", 0.0)
    rising = int(options.get("warmup", 1.0) * steps)
    if name == "step":
        scheduler = lr_scheduler.StepLR(optimizer, options["every"], options["factor"])
    elif name == "plateau":
        scheduler = lr_scheduler.ReduceLROnPlateau(
            optimizer, "max", factor=options["factor"], patience=options["patience"], threshold=0.0, threshold_mode="abs"
        )
    elif name == "cosine":
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, whole, lowest)
    elif name == "warmup-cosine":
        linear = lr_scheduler.LinearLR(optimizer, 1 / (rising + 1), 1.0, rising)
        cosine = lr_scheduler.CosineAnnealingLR(optimizer, whole - rising, lowest)
        scheduler = lr_scheduler.SequentialLR(optimizer, [linear, cosine], [rising])
    rates = []
    for epoch in range(epochs):
        for step in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if "cosine" in name and epoch * steps + step < whole:
                scheduler.step()
        if name == "step":
            scheduler.step()
        if name == "plateau":
            scheduler.step(scores[epoch])
    return rates


def rates_of(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[list[float], Any]:
    rates, step = [], Eager.step

    def watched(self, y, c, kl_weight):
        rates.append(self.optimizer.param_groups[0]["lr"])
        return step(self, y, c, kl_weight)

    with monkeypatch.context() as patch:
        patch.setattr(Eager, "step", watched)
        return rates, fit(tiny_vae(), pyrovae.load_dataset("digits"), **options, **QUIET)


@pytest.mark.parametrize(("name", "options"), SCHEDULED, ids=str)
def test_learning_rates_are_those_of_torchs_scheduler(monkeypatch, name, options):
    rates, result = rates_of(monkeypatch, epochs=4, learning_rate=0.01, schedule={"name": name, **options})
    scores = [row["valid_elbo"] for row in result.history]
    assert rates == by_hand(name, options, 4, STEPS_AN_EPOCH, scores)


def test_the_cosine_is_half_a_cosine_after_a_linear_rise(monkeypatch):
    rates, _ = rates_of(monkeypatch, epochs=3, learning_rate=0.01, schedule={"name": "warmup-cosine", "warmup": 1, "floor": 0.1})
    steps = np.arange(3 * STEPS_AN_EPOCH)
    falling = 0.001 + (0.01 - 0.001) * (1 + np.cos(np.pi * (steps - STEPS_AN_EPOCH) / (2 * STEPS_AN_EPOCH))) / 2
    rising = 0.01 * (steps + 1) / (STEPS_AN_EPOCH + 1)
    # torch computes each rate from the one before it: rounding adds up over the steps
    np.testing.assert_allclose(rates, np.where(steps < STEPS_AN_EPOCH, rising, falling), rtol=len(steps) * 1e-15)


def test_plateau_waits_and_a_worse_elbo_is_no_better_one():
    """Relative to a negative number, as torch compares by default, -100.005 would pass for better than -100."""
    optimizer = torch.optim.SGD([toy()], lr=1.0)
    part = Plateau(patience=1, factor=0.5)
    scheduler, rates = part.build(optimizer, 9, 1), []
    for score in (-100.0, -100.005, -100.005, -99.0, -99.0, -99.0):
        part.after_epoch(scheduler, score)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_metrics_have_the_rate_where_a_schedule_changes_it(tmp_path):
    changing = pyrovae.train(**TINY, epochs=3, schedule={"name": "step", "every": 1, "factor": 0.5}, out=tmp_path / "a")
    assert [row["learning_rate"] for row in changing.fit.history] == [1e-3, 5e-4, 2.5e-4]
    assert [row["learning_rate"] for row in runs.read_metrics(tmp_path / "a")] == [1e-3, 5e-4, 2.5e-4]
    constant = pyrovae.train(**TINY, epochs=1, out=tmp_path / "b")
    assert "learning_rate" not in constant.fit.history[0]


# --- going on -------------------------------------------------------------------------------------------------------------

STOPPED = list(itertools.product(OPTIMIZERS, SCHEDULES))
GOING_ON = {
    "cosine": {"epochs": 3},  # so that it can go on with more epochs
    "warmup-cosine": {"warmup": 0.55, "epochs": 2},
    "step": {"every": 1},
    "plateau": {"patience": 0},
    "constant": {},
}


def assert_same_optimizer(a: Path, b: Path) -> None:
    first, second = runs.load_state(a), runs.load_state(b)
    assert first.optimizer["param_groups"] == second.optimizer["param_groups"]
    assert first.optimizer["state"].keys() == second.optimizer["state"].keys()
    for number, slots in first.optimizer["state"].items():
        assert slots.keys() == second.optimizer["state"][number].keys()
        assert all(torch.equal(slot, second.optimizer["state"][number][name]) for name, slot in slots.items())
    assert (first.schedule, first.made_for) == (second.schedule, second.made_for)


@pytest.mark.parametrize(("optimizer", "schedule"), STOPPED)
def test_a_training_that_stopped_within_an_epoch_goes_on_to_the_same_bits(tmp_path, monkeypatch, optimizer, schedule):
    momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
    options = {
        **TINY,
        "epochs": 3,
        "learning_rate": 0.01,
        "optimizer": {"name": optimizer, **momentum},
        "weight_decay": 1e-3,
        "schedule": schedule,
    }
    pyrovae.train(**options, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        after_steps(patch, STEPS_AN_EPOCH + 4, press_ctrl_c)
        assert pyrovae.train(**options, out=tmp_path / "stopped").fit.interrupted
    pyrovae.resume(tmp_path / "stopped", **QUIET)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert_same_optimizer(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_more_epochs_go_on_where_the_course_of_the_rate_does_not_depend_on_them(tmp_path, schedule):
    options = {**TINY, "optimizer": "adamw", "schedule": {"name": schedule, **GOING_ON[schedule]}}
    pyrovae.train(**options, epochs=4, out=tmp_path / "whole")
    pyrovae.train(**options, epochs=2, out=tmp_path / "halves")
    pyrovae.resume(tmp_path / "halves", epochs=4, **QUIET)
    assert_same_run(tmp_path / "whole", tmp_path / "halves")
    assert_same_optimizer(tmp_path / "whole", tmp_path / "halves")


@pytest.mark.parametrize("schedule", ["cosine", "warmup-cosine"])
@pytest.mark.parametrize("epochs", [3, 5])
def test_other_epochs_are_refused_where_it_does(tmp_path, schedule, epochs):
    pyrovae.train(**TINY, epochs=4, schedule=schedule, out=tmp_path / "run")
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    for again in (
        lambda: pyrovae.resume(tmp_path / "run", epochs=epochs, **QUIET),
        lambda: fit(
            tiny_vae(), pyrovae.load_dataset("digits"), epochs=epochs, schedule=schedule, resume=runs.load_state(tmp_path / "run")
        ),
    ):
        with pytest.raises(UserError, match=rf"epochs={epochs}: the learning rate of this run takes its course over 4 epochs"):
            again()
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    assert len(pyrovae.resume(tmp_path / "run", **QUIET).fit.history) == 4


@pytest.mark.parametrize(
    "other", [{"optimizer": "sgd"}, {"optimizer": {"name": "adam", "beta1": 0.5}}, {"weight_decay": 0.1}, {"schedule": "step"}]
)
def test_going_on_otherwise_is_refused(tmp_path, other):
    pyrovae.train(**TINY, epochs=1, out=tmp_path / "run")
    with pytest.raises(UserError, match=f"^resume: {next(iter(other))} was "):
        pyrovae.train(**TINY, **other, epochs=2, out=tmp_path / "run", resume=True)


def test_a_state_of_another_optimizer_or_schedule_is_refused(tmp_path):
    """As a configuration of before that was edited would have it: no record says what the training was."""
    run = pyrovae.train(**TINY, epochs=1, out=tmp_path / "run")
    state = runs.load_state(run.run)
    check_fits(state, run.vae, Training())
    for wrong in (
        Training(optimizer="adagrad"),
        Training(optimizer={"name": "sgd", "momentum": 0.9}),
        Training(schedule="cosine"),
    ):
        with pytest.raises(ValueError, match=r"optimizer|schedule"):
            check_fits(state, run.vae, wrong)


def test_a_run_that_does_not_record_them_goes_on_as_it_was_trained(tmp_path):
    """As written before there was a choice: no such lines in config.yaml, nothing of a schedule in the state."""
    pyrovae.train(**TINY, epochs=4, out=tmp_path / "whole")
    run = pyrovae.train(**TINY, epochs=2, out=tmp_path / "old").run
    state = runs.load_state(run)
    config = {
        name: value for name, value in runs.read_config(run).items() if name not in ("optimizer", "weight_decay", "schedule")
    }
    state.schedule, state.made_for = {}, None
    del state.optimizer["param_groups"][0]["initial_lr"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    runs.save_state(run, state, config)
    assert with_newer(config)["optimizer"]["name"] == "adam"
    with pytest.raises(UserError, match=r"^resume: optimizer was "):
        pyrovae.train(**TINY, optimizer="sgd", epochs=4, out=run, resume=True)
    pyrovae.resume(run, epochs=4, **QUIET)
    assert_same_run(tmp_path / "whole", run)


def test_what_is_saved_is_plain_data(tmp_path):
    for schedule in SCHEDULES:
        run = pyrovae.train(**TINY, epochs=2, schedule=schedule, out=tmp_path / schedule).run
        state = runs.load_state(run)
        assert json.loads(json.dumps(state.schedule)) == state.schedule
        assert state.schedule.keys() >= {"last_epoch", "_last_lr"}


# --- settings -------------------------------------------------------------------------------------------------------------


def test_keywords_are_the_fields_of_a_training_by_name_and_type():
    fields = get_type_hints(Training)
    assert get_type_hints(TrainingOptions) == fields
    assert get_type_hints(SharedOptions) == {name: hint for name, hint in fields.items() if name != "seed"}


def test_a_whole_training_and_its_keywords_are_the_same():
    weights = []
    whole = Training(epochs=2, optimizer=Sgd(momentum=0.5), schedule=Cosine(floor=0.1), seed=3)
    for how in ((whole,), ()):
        vae = tiny_vae()
        keywords = (
            {}
            if how
            else {
                "epochs": 2,
                "optimizer": {"name": "sgd", "momentum": 0.5},
                "schedule": {"name": "cosine", "floor": 0.1},
                "seed": 3,
            }
        )
        fit(vae, pyrovae.load_dataset("digits"), *how, **keywords, **QUIET)
        weights.append(vae.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_train_and_sweep_take_a_whole_training(tmp_path):
    training = Training(epochs=1, optimizer="adagrad", learning_rate=0.02, seed=5)
    whole = commands.train(**TINY, training=training, out=tmp_path / "whole")
    single = commands.train(**TINY, epochs=1, optimizer="adagrad", learning_rate=0.02, seed=5, out=tmp_path / "single")
    assert runs.read_config(whole.run) == runs.read_config(single.run)
    assert_same_run(whole.run, single.run)
    swept = commands.sweep(**TINY, training=training, samples=2, limit=9, out=tmp_path / "all")
    assert_same_run(whole.run, swept.runs[0])


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (
            lambda: chosen_training(Training(), {"epochs": 3}),
            r"^epochs=3: is given beside a whole training; put it into Training\(epochs=",
        ),
        (lambda: chosen_training(None, {"epoch": 3}), r"^epoch=3: no such option; did you mean epochs\?"),
        (lambda: fit(tiny_vae(), pyrovae.load_dataset("digits"), optimiser="sgd"), r"^optimiser=.*did you mean optimizer\?"),
        (lambda: pyrovae.train(latent_dims=3), r"^latent_dims=3: no such option; did you mean latent_dim\?"),
        (lambda: chosen_training("adam", {}), r"^training='adam': needs a Training"),
        (lambda: Training(optimizer="adm"), r"optimizer='adm': unknown; did you mean adam"),
        (
            lambda: Training(optimizer={"name": "sgd", "momentum": 1.0}),
            r"^optimizer.momentum=1.0: needs a number of at least 0 and below 1",
        ),
        (
            lambda: Training(optimizer={"name": "sgd", "nesterov": True}),
            r"^optimizer.nesterov=True: .*give optimizer.momentum=0.9",
        ),
        (lambda: Training(weight_decay=-1.0), r"weight.decay.*-1"),
        (lambda: Training(schedule={"name": "step", "every": 0}), r"schedule.every.*0"),
        (
            lambda: Training(schedule={"name": "plateau", "factor": 1.0}),
            r"^schedule.factor=1.0: needs a number above 0 and below 1",
        ),
        (lambda: Training(schedule={"name": "cosine", "floor": 2.0}), r"^schedule.floor=2.0: needs a number from 0 to 1"),
        (
            lambda: Training(epochs=1, schedule=WarmupCosine()),
            r"^schedule.warmup=1.0: leaves nothing of 1 epochs .* or more epochs$",
        ),
        (
            lambda: Training(schedule=WarmupCosine(warmup=9, epochs=5)),
            r"^schedule.warmup=9: leaves nothing of 5 epochs .*schedule.epochs$",
        ),
        (
            lambda: fit(tiny_vae(), pyrovae.load_dataset({"name": "digits", "valid": 0}), schedule="plateau"),
            r"^schedule='plateau': needs validation data to watch; give data.valid",
        ),
    ],
)
def test_mistakes_are_named(give, said):
    with pytest.raises(UserError, match=said):
        give()


def test_the_command_line_has_them_flat(cli, here):
    line = "train --epochs 2 --optimizer sgd --optimizer.momentum 0.5 --weight-decay 0.001"
    line += " --schedule step --schedule.every 1 --out run"
    assert cli(*line.split(), "--network.hidden", "[8]", "--latent-dim", 2, "--device", "cpu", "--quiet").code == 0
    config = runs.read_config(here / "run")
    assert config["optimizer"] == {"name": "sgd", "momentum": 0.5, "nesterov": False}
    assert config["schedule"] == {"name": "step", "every": 1, "factor": 0.1}
    assert (config["weight_decay"], config["learning_rate"]) == (0.001, 0.001)
    python = commands.train(
        **TINY, **{name: config[name] for name in ("epochs", "optimizer", "weight_decay", "schedule")}, out=here / "python"
    )
    assert_same_run(here / "run", python.run)
    refused = cli("train", "--optimizer", "sgd", "--optimizer.beta1", "0.5")
    assert (refused.code, "--optimizer.beta1: sgd has no such option" in refused.err) == (2, True)


def test_a_sweep_has_one_optimizer_and_schedule_for_all(cli, here):
    line = "sweep --epochs 1 --seed 0,1 --optimizer adamw --schedule cosine --schedule.floor 0.5"
    line += " --samples 2 --limit 9 --out all --quiet"
    assert cli(*line.split(), "--network.hidden", "[8]", "--latent-dim", 2, "--device", "cpu").code == 0
    configs = [runs.read_config(path.parent) for path in sorted(here.glob("all/*/config.yaml"))]
    assert [(c["optimizer"]["name"], c["schedule"]["floor"], c["seed"]) for c in configs] == [
        ("adamw", 0.5, 0),
        ("adamw", 0.5, 1),
    ]


def test_a_registered_optimizer_trains(monkeypatch):
    """A user's own class, by object: torch's RMSprop."""
    from collections.abc import Iterable
    from dataclasses import dataclass

    from pyrovae.optimizers import Optimizer

    @dataclass(frozen=True, kw_only=True)
    class RmsProp(Optimizer):
        """torch's RMSprop."""

        alpha: float = 0.9

        def build(
            self, parameters: Iterable[torch.nn.Parameter], learning_rate: float, weight_decay: float
        ) -> torch.optim.Optimizer:
            return torch.optim.RMSprop(parameters, lr=learning_rate, alpha=self.alpha, weight_decay=weight_decay)

    history = fit(tiny_vae(), pyrovae.load_dataset("digits"), epochs=2, optimizer=RmsProp(), **QUIET).history
    assert history[1]["loss"] < history[0]["loss"]
    assert math.isfinite(history[1]["valid_elbo"])
    assert make("optimizer", RmsProp(alpha=0.5)).alpha == 0.5
