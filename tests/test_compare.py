"""Comparing runs: paired errors, rankings and groups, what is refused, what is written, what is used again."""

from __future__ import annotations

import csv
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
import yaml

import pyrovae
from pyrovae import Evaluation, Importance, commands, runs
from pyrovae.comparison import League, Settings, choice_in_words, rank
from pyrovae.comparison.entries import Entry, Quantity
from pyrovae.comparison.ranking import paired_error
from pyrovae.errors import UserError
from pyrovae.evidence.prepared import prepare_data
from pyrovae.evidence.reports.data_evaluation import DataEvaluation
from pyrovae.evidence.reports.numbers import Number
from pyrovae.parts import describe, make

QUICK = {"samples": 4, "limit": 40, "device": "cpu"}

MODELS = {
    "bernoulli": {},
    "bernoulli2": {"seed": 1},
    "binomial": {"likelihood": "binomial"},
    "normal": {"likelihood": "normal"},
    "threshold": {"preprocess": {"name": "binarise", "threshold": 8.0}},
    "label": {"likelihood": "binomial", "context": "label"},
    "label2": {"likelihood": "normal", "context": {"name": "label", "size": 3}},
    "autoencoder": {"likelihood": "binomial", "posterior": "delta"},
    "other_data": {"data": "REALS", "likelihood": "normal"},
    "reals": {"data": "REALS", "likelihood": "normal", "seed": 1},
    "reals2": {"data": "REALS", "likelihood": "laplace", "preprocess": "standardise"},
    "other_split": {"data": {"name": "digits", "split_seed": 7}},
    "wide": {"data": "WIDE", "likelihood": "normal"},
}


@pytest.fixture(scope="module")
def trained(make_run, tmp_path_factory) -> Callable[..., list[Path]]:
    """Copies of tiny runs that may be written to; each is trained and copied once."""
    home = tmp_path_factory.mktemp("compared")
    random = np.random.default_rng(0)
    np.save(home / "reals.npy", random.normal(size=(60, 8, 8)).astype(np.float32))
    np.save(home / "wide.npy", random.normal(size=(60, 16, 4)).astype(np.float32))
    paths = {"REALS": str(home / "reals.npy"), "WIDE": str(home / "wide.npy")}

    def make(*names: str) -> list[Path]:
        for name in names:
            options = {**MODELS[name]}
            if options.get("data") in ("REALS", "WIDE"):
                options["data"] = paths[options["data"]]
            if not (home / name).exists():
                shutil.copytree(make_run(f"compare_{name}", **options), home / name)
        return [home / name for name in names]

    return make


def arrays(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "evidence" / "importance.npz") as found:
        return {name: found[name] for name in found.files}


def entry(name: str, estimate: list[float], *, bound: bool = False, kind: str = "probability", symbol: str = "log p(x)") -> Entry:
    """A run with these numbers, of data with 2 elements each."""
    values = torch.tensor(estimate, dtype=torch.float64)
    number = Number(math.nan, monte_carlo_error_is="estimate")
    evaluation = DataEvaluation(
        run=name, data="some", split="test", n=len(estimate), samples=4, seed=0, dequantisations=None, estimator="importance",
        quantity=symbol, units="nats", elbo=number, log_evidence=number, bits_per_dim=0.0,
        options={}, method=None, gap=None, bounds=None, decomposition=None, khat=None, acceptance=None, precision={},
        bits_per_dim_kind="dequantisation bound" if bound else "exact", reconstruction=0.0, kl=0.0, kl_per_dimension=None,
        active_units=1, latent_dim=2, effective_sample_size={}, untrusted=0, cannot_tell=0, seconds=0.0, model_sha256="",
        data_sha256="",
        per_datum={"estimate": values, "monte_carlo_error": torch.full_like(values, 0.1), "elbo": values - 0.5},
    )  # fmt: skip
    roles = ("likelihood", "prior", "posterior", "context", "network", "preprocess", "objective")
    return Entry(
        folder=Path(name), parts=dict.fromkeys(roles, "some"), latent_dim=2, seed=0, evaluation=evaluation,
        quantity=Quantity(symbol=symbol, kind=kind, detail=""), is_bound=bound, size=2, parameters=3, epochs=1, seconds=None,
    )  # fmt: skip


def evaluated(folder: Path, samples: int, dequantisations: int = 4, **options: object) -> Evaluation:
    return commands.evaluate(folder, Importance(samples=samples, dequantisations=dequantisations), **options)


# --- numbers ----------------------------------------------------------------------------------------------------------------


def test_a_paired_error_is_that_of_scipys_paired_test():
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 30)) + random.normal(scale=9, size=30)
    found = paired_error(torch.from_numpy(first), torch.from_numpy(second))
    assert (first - second).mean() / found == pytest.approx(scipy.stats.ttest_rel(first, second).statistic, rel=1e-12)


def test_a_league_of_runs_says_what_scipy_says_of_their_arrays(trained):
    both = trained("binomial", "normal")
    league = commands.compare(both, **QUICK)
    (group,) = league.groups
    best, other = group.rows
    a, b = (arrays(Path(row.run)) for row in (best, other))
    np.testing.assert_array_equal(a["index"], b["index"])
    test = scipy.stats.ttest_rel(b["estimate"], a["estimate"])
    assert other.difference / other.difference_error == pytest.approx(test.statistic, rel=1e-9)
    for row, found in ((best, a), (other, b)):
        assert row.log_evidence == pytest.approx(found["estimate"].mean(), rel=1e-12)
        assert row.standard_error == pytest.approx(scipy.stats.sem(found["estimate"]), rel=1e-9)
        assert row.elbo_gap == pytest.approx((found["estimate"] - found["elbo"]).mean(), rel=1e-9)
        assert row.elbo_gap >= 0  # log of a mean of weights, mean of their logs
        assert row.bits_per_dim == pytest.approx(-found["estimate"].mean() / 64 / math.log(2), rel=1e-12)
        assert row.untrusted == (found["effective_sample_size"] < 10).sum() == row.n == 40
    assert best.log_evidence > other.log_evidence


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ({"khat": 3}, "(most: a, 3 of 4: a k-hat above 0.79)"),
        (
            {"khat": 3, "effective_sample_size": 1},
            "(most: a, 3 of 4: a k-hat above 0.79, 1 with fewer than 10 effective samples)",
        ),
        ({"effective_sample_size": 3}, "(most: a, 3 of 4: fewer than 10 effective samples)"),
    ],
    ids=str,
)
def test_untrusted_data_are_told_with_their_own_reason(by, says):
    good, bad = entry("b", [0.0] * 4), entry("a", [-1.0] * 4)
    number = replace(bad.evaluation.log_evidence, monte_carlo_error_is="lower bound")
    khat = {"limits": [0.44, 0.79]}
    judged = replace(bad.evaluation, untrusted=3, untrusted_by=by, cannot_tell=1, khat=khat, log_evidence=number)
    league = rank([good, replace(bad, evaluation=judged)], Settings())
    row = {row.name: row for row in league.rows}["a"]
    assert (row.untrusted, row.cannot_tell, row.monte_carlo_error_is) == (3, 1, "lower bound")
    for page, least in ((league.table(), ">="), (league.markdown(), "at least")):
        assert says in " ".join(page.split())
        assert "annot tell (most: a, 1 of 4)" in page
        assert page.count(f"[{least} 0.0500]") == 1  # 0.1 of each of four data
    assert json.loads(league.to_json())["groups"][0]["rows"][1]["untrusted_because"] in says


def test_parameters_and_seconds_are_those_of_the_run(trained):
    (row, _) = sorted(commands.compare(trained("binomial", "normal"), **QUICK).rows, key=lambda row: row.name)
    # 64-16-4 and 2-16-64, with biases.
    assert row.parameters == 64 * 16 + 16 + 16 * 4 + 4 + 2 * 16 + 16 + 16 * 64 + 64
    with open(Path(row.run) / "metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (row.seconds, row.epochs) == (float(last["seconds"]), int(last["epoch"]))


def test_the_order_is_that_of_the_evidence_and_differences_are_to_the_best():
    means = {"b": -3.0, "a": -1.0, "d": -7.0, "c": -4.5}
    league = rank([entry(name, [mean - 1, mean + 1]) for name, mean in means.items()], Settings())
    rows = league.groups[0].rows
    assert [row.name for row in rows] == ["a", "b", "c", "d"]
    assert [row.rank for row in rows] == [1, 2, 3, 4]
    assert [row.difference for row in rows] == [0, -2, -3.5, -6]
    assert [row.difference_error for row in rows] == [None, 0, 0, 0]


def test_what_the_data_do_not_tell_apart_is_marked():
    near, far = [-1.1, -3.0, -1.9, -2.2], [-3.0, -4.1, -5.0, -4.0]
    best = [-1.0, -2.0, -3.0, -2.0]
    assert abs(scipy.stats.ttest_rel(near, best).statistic) < 2 < abs(scipy.stats.ttest_rel(far, best).statistic)
    lines = rank([entry("best", best), entry("near", near), entry("far", far)], Settings()).table().splitlines()
    marked = [line.split()[1] for line in lines if line[:3].strip().isdigit() and "~" in line]
    assert marked == ["near"]
    assert any(line.strip().startswith("~ within two standard errors") for line in lines)


def test_one_datum_has_no_error_and_no_evidence_is_last():
    one = rank([entry("a", [-1.0]), entry("b", [-2.0])], Settings())
    assert [(row.standard_error, row.difference_error) for row in one.rows] == [(None, None)] * 2
    none = rank([entry("zero", [-math.inf, -1.0]), entry("some", [-9.0, -9.0])], Settings())
    assert [row.name for row in none.rows] == ["some", "zero"]
    assert json.loads(none.to_json())["groups"][0]["rows"][1]["log_evidence"] is None
    assert "-inf" in none.table()


def test_a_bound_is_marked_wherever_it_ends():
    league = rank([entry("exact", [-2.0, -2.0]), entry("ahead", [-1.0, -1.0], bound=True)], Settings())
    ahead, exact = league.rows
    assert (ahead.name, ahead.is_bound, exact.is_bound) == ("ahead", True, False)
    lines = [line for line in league.table().splitlines() if line.split()[1:2] in (["ahead"], ["exact"])]
    assert ["<=" in line for line in lines] == [True, False]
    assert "really ahead" in league.groups[0].why


def test_runs_with_the_same_last_name_are_told_apart():
    league = rank([entry("x/one/run", [-1.0, -1.0]), entry("x/two/run", [-2.0, -2.0])], Settings())
    assert [row.name for row in league.rows] == ["one/run", "two/run"]


@pytest.mark.parametrize(
    ("role", "part", "text"),
    [
        ("likelihood", "normal", "normal"),
        ("likelihood", {"name": "normal", "scale": 0.1}, "normal scale=0.1"),
        ("network", {"name": "mlp", "hidden": (40, 30)}, "mlp hidden=40x30"),
        ("network", {"name": "mlp", "hidden": (400,)}, "mlp"),
    ],
)
def test_a_part_is_shown_with_the_options_that_were_chosen(role, part, text):
    assert choice_in_words(role, describe(role, make(role, part))) == text


# --- the table --------------------------------------------------------------------------------------------------------------


LONG = [
    f"{likelihood}-mixture,components=20-residual,blocks=3,width=512-z{size}"
    for likelihood in ("beta", "poisson")
    for size in (8, 20)
]


def large_league() -> League:
    """Numbers with many digits, long names, every choice different, data that are not to be trusted."""
    number = Number(math.nan, monte_carlo_error_is="lower bound")
    bad = {"untrusted": 2, "untrusted_by": {"khat": 2}, "khat": {"limits": [0.44, 0.79]}, "log_evidence": number}
    entries = []
    for place, name in enumerate(LONG):
        one = entry(name, [-1234.5 - place, -1300.25, -1250.125], bound=True)
        parts = {role: f"{role} number={place}" for role in one.parts}
        entries.append(replace(one, evaluation=replace(one.evaluation, **bad), seed=place, parts=parts))
    return rank(entries, Settings())


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_fits_the_terminal_with_its_evidence_and_elbo(width):
    league = large_league()
    table = league.table(width=width)
    assert max(map(len, table.splitlines())) <= width
    (head, *_) = (line for line in table.splitlines() if line.startswith("  #"))
    assert ["log evidence" in head, "to the best" in head, "ELBO" in head] == [True] * 3
    rows = [line for line in table.splitlines() if line[:3].strip().isdigit()]
    assert len({line.split()[1] for line in rows}) == len(LONG)  # the names are cut, and still differ
    for row, line in zip(league.rows, rows, strict=True):
        assert f"{row.log_evidence:.3f} +- {row.standard_error:.3f} [>= " in line
        assert f"{row.elbo:.3f}" in line


def test_a_wide_table_has_every_column_and_whole_names_and_the_others_say_what_is_missing():
    league = large_league()
    wide, narrow = league.table(wide=True, width=80), league.table(width=80)
    (head, *_) = (line for line in wide.splitlines() if line.startswith("  #"))
    for name in ("likelihood", "prior", "seed", "bits/dim", "ELBO gap", "active", "parameters", "untrusted", "cannot tell"):
        assert name in head
    assert all(name in wide for name in LONG)
    assert "no room for" not in wide
    left_out = " ".join(narrow.split()).partition("no room for: ")[2].partition(" (--wide")[0].split(", ")
    (short, *_) = (line for line in narrow.splitlines() if line.startswith("  #"))
    assert set(left_out) | set(short.split("  ")) >= {"likelihood", "bits/dim", "ELBO gap", "parameters", "seconds"}
    assert not any(f"  {name}" in short for name in left_out)


@pytest.mark.parametrize("columns", [None, 80, 120])
def test_the_command_line_looks_at_the_terminal_and_prints_100_columns_into_a_file(cli, trained, monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
    folders = trained("binomial", "normal", "bernoulli")
    narrow = cli("compare", *folders, "--samples", 4, "--limit", 40, "--device", "cpu").out
    assert 60 < max(map(len, narrow.splitlines())) <= (columns or 100)
    wide = cli("compare", *folders, "--samples", 4, "--limit", 40, "--device", "cpu", "--wide").out
    assert max(map(len, wide.splitlines())) > 100


# --- groups -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["binomial", "normal"], [{"binomial", "normal"}]),
        (["bernoulli", "bernoulli2"], [{"bernoulli", "bernoulli2"}]),
        (["bernoulli", "binomial"], [{"binomial"}, {"bernoulli"}]),
        (["bernoulli", "threshold"], [{"bernoulli"}, {"threshold"}]),
        (["label", "binomial", "label2"], [{"binomial"}, {"label", "label2"}]),
        (["reals", "reals2"], [{"reals", "reals2"}]),
    ],
)
def test_what_is_another_quantity_is_ranked_by_itself(trained, names, groups):
    league = commands.compare(trained(*names), **QUICK)
    assert [{row.name for row in group.rows} for group in league.groups] == groups
    assert all([row.rank for row in group.rows] == list(range(1, len(group.rows) + 1)) for group in league.groups)
    assert all(group.rows[0].difference == 0 for group in league.groups)


@pytest.mark.parametrize(
    ("names", "reasons"),
    [
        (["binomial", "normal"], ["a bound that is ahead is really ahead"]),
        (["bernoulli", "threshold"], ["another data set", "another data set"]),
        (["label", "binomial"], ["", "another quantity than log p(x)"]),
        (["reals", "reals2"], ["no probabilities"]),
    ],
)
def test_a_group_says_why(trained, names, reasons):
    groups = commands.compare(trained(*names), **QUICK).groups
    for group, reason in zip(groups, reasons, strict=True):
        assert reason in group.why
        assert bool(reason) == bool(group.why)


def test_titles_of_groups_differ_and_name_what_is_given(trained):
    league = commands.compare(trained("bernoulli", "threshold", "label", "binomial"), **QUICK)
    titles = [group.title for group in league.groups]
    assert len(set(titles)) == 4
    assert [title for title in titles if title.startswith("log p(x|c)") and "c = class" in title]
    assert [title for title in titles if "threshold=8" in title]


def test_binarised_runs_see_the_same_bits(trained):
    digits = commands.load_dataset("digits")
    models = [pyrovae.load(folder) for folder in trained("bernoulli", "bernoulli2")]
    first, second = (prepare_data(vae, digits, "test").seen() for vae in models)
    assert torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}


# --- refusals ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "says", "named"),
    [
        (["bernoulli"], "at least two runs", []),
        ([], "at least two runs", []),
        (["bernoulli", "binomial", "bernoulli"], "given twice", ["bernoulli"]),
        (["bernoulli", "other_data"], "different data, digits and ", ["bernoulli", "other_data"]),
        (["reals", "wide"], "different shapes, 8x8 and 16x4", ["reals", "wide"]),
        (["bernoulli", "other_split"], "split otherwise", ["bernoulli", "other_split"]),
        (["binomial", "autoencoder"], "neither ELBO nor evidence", ["autoencoder"]),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(trained, snapshot, names, says, named):
    folders = trained(*names)
    before = {folder: snapshot(folder) for folder in folders}
    with pytest.raises(UserError, match=says) as refused:
        commands.compare(folders, **QUICK)
    assert "\n" not in str(refused.value)
    assert all(str(folder) in str(refused.value) for folder in trained(*named))
    assert {folder: snapshot(folder) for folder in folders} == before


def test_the_same_folder_by_another_path_is_the_same_run(trained):
    (folder,) = trained("bernoulli")
    with pytest.raises(UserError, match="given twice"):
        commands.compare([folder, folder / ".." / folder.name])


def test_a_run_without_data_is_refused(trained, tmp_path):
    (folder,) = trained("bernoulli")
    pyrovae.save(pyrovae.load(folder), tmp_path / "saved")
    with pytest.raises(UserError, match="saved: has no data of its own"):
        commands.compare([folder, tmp_path / "saved"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--samples", 0], "--samples 0: needs an integer of at least 1"),
        (["--limit", 0], "--limit 0: needs an integer of at least 1"),
        (["--dequantisations", 0], "--dequantisations 0: needs an integer of at least 1"),
        (["--seed", -1], "--seed -1: needs an integer"),
        (["--split", "tset"], "--split tset: unknown; there are train, valid, test, all"),
        (["--out", "/dev/null/x"], "--out /dev/null/x: could not be written there"),
    ],
)
def test_wrong_options_end_with_one_line_and_code_2(cli, trained, options, says):
    answer = cli("compare", *trained("bernoulli", "binomial"), *options)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"pyrovae compare: error: {says}")
    assert answer.err.count("\n") == 1


def test_the_command_line_without_runs_says_what_it_needs(cli):
    answer = cli("compare")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "needs a run folder" in answer.err


# --- what is written ----------------------------------------------------------------------------------------------------------


def plain(value: object) -> str:
    return "" if value is None else str(value)


def test_the_command_line_writes_a_table_a_csv_a_json_and_a_picture(cli, trained, tmp_path):
    out = tmp_path / "league"
    folders = trained("binomial", "normal", "bernoulli")
    answer = cli("compare", *folders, "--samples", 4, "--limit", 40, "--device", "cpu", "--out", out)
    assert (answer.code, answer.err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["league.csv", "league.json", "league.png"]
    assert (out / "league.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((out / "league.json").read_text())
    from_json = [row for group in written["groups"] for row in group["rows"]]
    with open(out / "league.csv", newline="") as file:
        from_csv = list(csv.DictReader(file))
    assert [{key: plain(value) for key, value in row.items()} for row in from_json] == from_csv
    assert [row["name"] for row in from_csv if row["rank"] == "1"] == [group["rows"][0]["name"] for group in written["groups"]]
    for row in from_json:
        assert row["name"] in answer.out
        assert f"{row['log_evidence']:.3f}" in answer.out
    assert (written["n"], written["samples"]) == (40, 4)


def test_without_out_only_the_evidence_is_written(trained, here):
    commands.compare(trained("binomial", "normal"), **QUICK)
    assert list(here.iterdir()) == []


def test_the_markdown_table_has_a_row_a_run(trained):
    league: League = commands.compare(trained("binomial", "normal"), **QUICK)
    lines = [line for line in league.markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(league.rows)
    assert len({line.count("|") for line in lines}) == 1


# --- what is used again -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(trained, tmp_path) -> list[Path]:
    """Copies of two runs that have been compared."""
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in trained("binomial", "bernoulli")]
    commands.compare(folders, **QUICK)
    return folders


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "evidence").iterdir()}


def change_weights(folder: Path) -> None:
    weights = pyrovae.load(folder).state_dict()
    runs.save_weights(folder, {name: tensor + 0.01 for name, tensor in weights.items()}, runs.read_config(folder))


def change_option(folder: Path) -> None:
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["network"]["activation"] = "tanh"
    config["run"]["edited"] = True
    path.write_text(yaml.safe_dump(config))


def damage_json(folder: Path) -> None:
    (folder / "evidence" / "importance.json").write_text("{")


def of_an_older_version(folder: Path) -> None:
    path = folder / "evidence" / "importance.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "model_sha256"}))


def forget_what_cannot_be_told(folder: Path) -> None:
    """The file as it was before data of which it cannot be told were counted, and errors were marked."""
    path = folder / "evidence" / "importance.json"
    found = json.loads(path.read_text())
    del found["cannot_tell"], found["untrusted_by"]
    for name in ("elbo", "log_evidence", "gap"):
        del found[name]["monte_carlo_error_is"], found[name]["degrees_of_freedom"]
    if found["khat"] is not None:
        del found["khat"]["limits"]
    path.write_text(json.dumps({**found, "untrusted": 1}))
    with zipfile.ZipFile(path.with_suffix(".npz"), "a") as archive:
        archive.comment = b""  # nor was there a digest


def lose_arrays(folder: Path) -> None:
    (folder / "evidence" / "importance.npz").unlink()


def swap_arrays(folder: Path) -> None:
    found = arrays(folder)
    np.savez(folder / "evidence" / "importance.npz", **{**found, "estimate": found["estimate"] + 1})


def test_an_evaluation_is_used_again(pair):
    before, first = [times(folder) for folder in pair], commands.compare(pair, **QUICK)
    assert [times(folder) for folder in pair] == before
    assert commands.compare(pair, **QUICK) == first


@pytest.mark.parametrize("samples", [4, 60])
def test_an_evaluation_of_an_older_version_is_used_and_judged_by_its_arrays(pair, samples):
    for folder in pair:
        shutil.rmtree(folder / "evidence")
    found = commands.compare(pair, **{**QUICK, "samples": samples})
    for folder in pair:
        forget_what_cannot_be_told(folder)
    before = [times(folder) for folder in pair]
    assert commands.compare(pair, **{**QUICK, "samples": samples}) == found
    assert [times(folder) for folder in pair] == before
    assert any(row.untrusted or row.cannot_tell for row in found.rows)


def test_an_evaluation_by_evaluate_is_used(pair):
    found = [evaluated(folder, seed=3, **QUICK) for folder in pair]
    before = [times(folder) for folder in pair]
    league = commands.compare(pair, seed=3, **QUICK)
    assert [times(folder) for folder in pair] == before
    assert {row.run: row.log_evidence for row in league.rows} == {e.run: e.log_evidence.mean for e in found}


@pytest.mark.filterwarnings("ignore:.*another model than was trained, as edited. true says")
@pytest.mark.parametrize(
    "change",
    [change_weights, change_option, damage_json, of_an_older_version, lose_arrays, swap_arrays],
    ids=lambda f: f.__name__,
)
def test_what_has_changed_is_evaluated_anew(pair, change):
    change(pair[0])
    league = commands.compare(pair, **QUICK)
    expected = {str(folder): evaluated(folder, **QUICK).log_evidence.mean for folder in pair}
    assert {row.run: row.log_evidence for row in league.rows} == expected


@pytest.mark.parametrize("setting", [{"samples": 5}, {"limit": 30}, {"seed": 1}, {"split": "valid"}], ids=str)
def test_other_settings_are_another_evaluation(pair, setting: Mapping[str, object]):
    """It is computed anew, and those that are there are left as they are."""
    options = {**QUICK, **setting}
    before = [times(folder) for folder in pair]
    rows = commands.compare(pair, **options).rows
    for folder, then in zip(pair, before, strict=True):
        assert {name: times(folder)[name] for name in then} == then
        assert len(times(folder)) == len(then) + 2
    expected = {str(folder): evaluated(folder, **options).log_evidence.mean for folder in pair}
    assert {row.run: row.log_evidence for row in rows} == expected
    again = [times(folder) for folder in pair]
    assert {row.run: row.log_evidence for row in commands.compare(pair, **options).rows} == expected
    assert [times(folder) for folder in pair] == again  # found under whatever name it has


def test_dequantisations_matter_only_where_there_are_any(trained, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in trained("binomial", "normal")]
    first = {row.name: asdict(row) for row in commands.compare(folders, dequantisations=2, **QUICK).rows}
    before = [times(folder) for folder in folders]
    second = {row.name: asdict(row) for row in commands.compare(folders, dequantisations=3, **QUICK).rows}
    assert times(folders[0]) == before[0]
    assert times(folders[1]) != before[1]
    assert first["binomial"]["log_evidence"] == second["binomial"]["log_evidence"]
    assert first["normal"]["log_evidence"] != second["normal"]["log_evidence"]
