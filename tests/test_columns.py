"""Tables are matched by the names of their columns: to the model that was trained on them, wherever they stand in a file."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

import pyrovae
from pyrovae import VAE, Importance, UserError, commands, runs
from pyrovae.contracts import DataSpec
from pyrovae.data import CsvFile, Dataset
from pyrovae.data.columns import in_one_line, named_in
from pyrovae.runs.opening import open_run
from pyrovae.system.tensorfiles import read_tensors, write_tensors

NAMES = ["width", "height, of all", "mass"]
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3)) * [1.0, 5.0, 0.2] + [0.0, 30.0, 3.0]
NEW = RANDOM.normal(size=(40, 3)) * [1.0, 5.0, 0.2] + [0.0, 30.0, 3.0]
KINDS = ["odd" if i % 2 else "even" for i in range(60)]
TINY = {"likelihood": "normal", "network": "linear", "latent_dim": 1, "epochs": 1, "device": "cpu", "progress": False}
EXACT = {"estimator": "exact", "device": "cpu"}


def table(path: Path, names: Sequence[str], columns: Sequence[Sequence[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *zip(*columns, strict=True)])
    return str(path)


def of(x: np.ndarray, *order: int) -> tuple[list[str], list[np.ndarray]]:
    """Names and columns in that order."""
    return [NAMES[i] for i in order], [x[:, i] for i in order]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def run(make_run, home: Path) -> Path:
    """A linear Gaussian model of the table; not to be written to."""
    return make_run("columns", data=table(home / "mine.csv", *of(X, 0, 1, 2)), **TINY)


@pytest.fixture(scope="module")
def labelled(home: Path) -> dict[str, str]:
    """The table with a column of labels."""
    return {"name": "csv", "path": table(home / "labelled.csv", [*NAMES, "kind"], [*X.T, KINDS]), "label": "kind"}


@pytest.fixture(scope="module")
def conditional(make_run, labelled: dict[str, str]) -> Path:
    """A model of it that is conditioned on them; not to be written to."""
    return make_run("columns-and-labels", data=labelled, context="label", **TINY)


def exact(run: Path, x: np.ndarray) -> np.ndarray:
    """log p(x) of a linear Gaussian model by scipy, (N,)."""
    vae = runs.load(run)
    with torch.no_grad():
        bias = vae.likelihood(torch.zeros(1, 1)).mean[0]
        weight = vae.likelihood(torch.ones(1, 1)).mean[0] - bias
        scale = vae.likelihood(torch.zeros(1, 1)).stddev[0]
    covariance = np.outer(weight, weight) + np.diag(scale.double().numpy() ** 2)
    return stats.multivariate_normal(bias.double().numpy(), covariance).logpdf(x)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_columns_in_any_order_are_scored_as_what_they_are_called(run: Path, order: Sequence[int], tmp_path: Path) -> None:
    """Matched by position, the second is scored tens of thousands of nats lower."""
    found = pyrovae.evaluate(run, data=table(tmp_path / "new.csv", *of(NEW, *order)), **EXACT)
    # float32 data and weights: 6e-8 relative of numbers of 100 / scale, squared
    np.testing.assert_allclose(found.per_datum["estimate"], exact(run, NEW), rtol=1e-4, atol=1e-3)


def test_the_names_are_in_the_run(run: Path) -> None:
    assert yaml.safe_load((run / "config.yaml").read_text())["run"]["data"]["columns"] == NAMES
    assert runs.load(run).spec.columns == tuple(NAMES)


def test_a_renamed_column_is_refused_with_the_nearest(run: Path, tmp_path: Path) -> None:
    names, columns = of(NEW, 0, 1, 2)
    path = table(tmp_path / "new.csv", [*names[:2], "Mass"], columns)
    message = r"data=.*new\.csv': has no column mass, which the model was trained on; did you mean Mass\? All: Mass, "
    for command in (commands.evaluate, commands.encode, commands.figures):
        with pytest.raises(UserError, match=message):
            command(run, data=path, device="cpu")


def test_a_column_more_is_named_and_not_used(run: Path, tmp_path: Path, recwarn) -> None:
    """Also one of text, of which no number is made."""
    names, columns = of(NEW, 1, 0, 2)
    path = table(tmp_path / "new.csv", [*names, "comment"], [*columns, ["fine"] * 40])
    with pytest.warns(UserWarning, match=r"new\.csv: not used: the columns comment$"):
        found = open_run(run, path, None, "cpu").dataset
    np.testing.assert_array_equal(found.x, NEW)


def test_data_without_names_are_taken_in_the_order_of_the_model_and_it_is_said(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", NEW)
    with pytest.warns(UserWarning, match="its columns have no names; they are taken in the order width, height, of all, mass"):
        found = open_run(run, str(tmp_path / "new.npy"), None, "cpu").dataset
    np.testing.assert_array_equal(found.x, NEW)


def test_a_data_set_in_memory_is_matched_by_its_names(run: Path) -> None:
    rows = {"train": torch.arange(40), "valid": torch.arange(0), "test": torch.arange(40)}
    x = torch.tensor(NEW[:, [2, 1, 0]], dtype=torch.float32)
    dataset = Dataset("mine", DataSpec((3,), columns=("mass", "height, of all", "width")), x, None, rows)
    found = pyrovae.evaluate(run, data=dataset, **EXACT).per_datum["estimate"]
    np.testing.assert_allclose(found, exact(run, NEW), rtol=1e-4, atol=1e-3)
    with pytest.raises(UserError, match=r"^data='mine': has the columns mass, .* made for width"):
        runs.load(run).prepare(dataset.spec, x, dataset.name)


def test_the_runs_own_table_may_be_written_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    run = commands.train(data=table(path, *of(X, 0, 1, 2)), out=str(tmp_path / "run"), **TINY).run
    before = open_run(run, None, None, "cpu").dataset
    table(path, *of(X, 2, 1, 0))
    table(tmp_path / "moved.csv", *of(X, 1, 2, 0))
    for data in (None, str(path), str(tmp_path / "moved.csv")):
        again = open_run(run, data, None, "cpu").dataset
        assert torch.equal(again.x, before.x)
        assert torch.equal(again.test.index, before.test.index)


def test_the_runs_own_table_with_another_name_is_refused(tmp_path: Path) -> None:
    """The numbers are the same, what they are is not known any more."""
    path = tmp_path / "mine.csv"
    run = commands.train(data=table(path, *of(X, 0, 1, 2)), out=str(tmp_path / "run"), **TINY).run
    columns = of(X, 0, 1, 2)[1]
    table(path, ["width", "height, of all", "weight"], columns)
    with pytest.raises(UserError, match="has no column mass"):
        commands.evaluate(run, **EXACT)
    with pytest.raises(UserError, match=r"resume: the columns of .*mine.csv are called width, height, of all, weight .* mass"):
        commands.resume(run, epochs=2, progress=False)


def test_a_run_without_names_is_matched_by_position_as_before(run: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    config = yaml.safe_load((old / "config.yaml").read_text())
    del config["run"]["data"]["columns"]
    for option in ("columns", "delimiter"):
        del config["data"][option]
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    write_tensors(old / "model.safetensors", read_tensors(old / "model.safetensors")[0], {}, old)
    columns = of(NEW, 0, 1, 2)[1]
    found = pyrovae.evaluate(old, data=table(tmp_path / "new.csv", ["a", "b", "c"], columns), **EXACT)
    np.testing.assert_allclose(found.per_datum["estimate"], exact(run, NEW), rtol=1e-4, atol=1e-3)


def test_chosen_columns_are_data_in_that_order(tmp_path: Path) -> None:
    path = table(tmp_path / "mine.csv", [*NAMES, "kind"], [*X.T, KINDS])
    dataset = pyrovae.load_dataset({"name": path, "columns": 'mass,"height, of all"', "label": "kind"})
    np.testing.assert_array_equal(dataset.x, X[:, [2, 1]])
    assert dataset.spec.columns == ("mass", "height, of all")
    with pytest.raises(UserError, match=r"data\.columns='maß': .* has no such column; did you mean mass"):
        pyrovae.load_dataset({"name": path, "columns": "maß"})
    with pytest.raises(UserError, match=r"data\.label='mass': mass is a column of data"):
        pyrovae.load_dataset({"name": path, "columns": "mass", "label": "mass"})


def test_names_survive_the_option() -> None:
    names = ["a", 'a "depth"', "height, of all", "two\nlines", "ä", "1"]
    assert named_in("--data.columns", in_one_line(names), names) == names


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 0, 1)])
def test_labels_are_found_by_the_name_of_their_column(order: Sequence[int], conditional: Path, tmp_path: Path) -> None:
    names, columns = [*NAMES, "kind"], [*X.T, KINDS]
    moved = table(tmp_path / "moved.csv", [names[i] for i in order], [columns[i][:50] for i in order])
    encoded = [pyrovae.encode(conditional, data=data, device="cpu") for data in (None, moved)]
    assert torch.equal(encoded[0].y[:50], encoded[1].y)
    # each row by itself or among others: products of other sizes may be summed in another order
    torch.testing.assert_close(encoded[0].mean[:50], encoded[1].mean, rtol=1e-5, atol=1e-5)
    assert pyrovae.classify(shutil.copytree(conditional, tmp_path / "run"), data=moved, samples=5, device="cpu").n == 50


def test_a_model_that_needs_no_labels_takes_a_table_without(make_run, labelled, conditional: Path, tmp_path: Path) -> None:
    run = make_run("columns-label-unused", data=labelled, **TINY)
    new = table(tmp_path / "new.csv", *of(NEW, 2, 1, 0))
    with pytest.warns(UserWarning, match=r"new\.csv: has no column kind, so no labels"):
        assert pyrovae.encode(run, data=new, device="cpu").y is None
    renamed = table(tmp_path / "renamed.csv", [*NAMES, "Kind"], [*X.T, KINDS])
    with pytest.raises(UserError, match=r"data\.label='kind': .*renamed\.csv has no such column; did you mean Kind"):
        pyrovae.encode(conditional, data=renamed, device="cpu")
    found = pyrovae.encode(conditional, data={"name": renamed, "label": "Kind"}, device="cpu")
    assert found.y.tolist() == [i % 2 for i in range(60)]


@pytest.mark.parametrize("columns", [("a",), ("a", "a"), ("a", "b", "c")])
def test_a_vae_has_a_name_for_each_element_or_none(columns: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"columns=.*: needs a name for each element"):
        VAE((2,), 1, "normal", columns=columns)


# --- one file, one meaning ------------------------------------------------------------------------------------------------


def test_a_file_means_the_same_however_it_is_named(run: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "new.csv", *of(NEW, 2, 0, 1))
    named = [path, Path(path), {"name": "csv", "path": path}, {"name": path}, CsvFile(path=path)]
    found = [pyrovae.evaluate(run, data=data, **EXACT) for data in named]
    assert {(e.n, e.split, e.log_evidence.mean) for e in found} == {(40, "all", found[0].log_evidence.mean)}
    assert f"{path}, all, 40 data" in found[0].table()


def test_splits_that_were_asked_for_are_drawn(run: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "new.csv", *of(NEW, 0, 1, 2))
    found = pyrovae.evaluate(run, data=CsvFile(path=path, test=10), **EXACT)
    assert (found.n, found.split) == (10, "test")


# --- runs compared on new data --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turned(make_run, home: Path) -> Path:
    """A model of other rows, in whose table the columns stand in another order; not to be written to."""
    return make_run("columns-turned", data=table(home / "turned.csv", *of(X[:50] + 0.1, 2, 0, 1)), **TINY)


def test_runs_are_compared_on_new_data_whatever_the_order_of_their_columns(run, turned, cli, tmp_path: Path) -> None:
    runs_ = [shutil.copytree(one, tmp_path / name) for one, name in ((run, "mine"), (turned, "turned"))]
    new = table(tmp_path / "new.csv", *of(NEW, 1, 2, 0))
    league = pyrovae.compare(runs_, data=new, samples=200, device="cpu")
    assert (league.n, league.split) == (40, "all")
    expected = {
        one.name: pyrovae.evaluate(one, Importance(samples=200), data=new, device="cpu").log_evidence.mean for one in runs_
    }
    assert {row.name: row.log_evidence for row in league.rows} == expected
    first, second = league.rows
    assert second.difference == pytest.approx(expected[second.name] - expected[first.name], rel=1e-12)
    written = {path: path.stat().st_mtime_ns for one in runs_ for path in (one / "evidence").iterdir()}
    answer = cli("compare", *runs_, "--data", new, "--data.header", "yes", "--samples", 200, "--device", "cpu")
    assert (answer.code, "new.csv, all, 40 data" in " ".join(answer.out.split())) == (0, True)
    assert written == {path: path.stat().st_mtime_ns for one in runs_ for path in (one / "evidence").iterdir()}


def test_one_table_is_the_same_data_in_whatever_order_its_columns_stand(run, make_run, home: Path, tmp_path: Path) -> None:
    other = make_run("columns-reordered", data=table(home / "reordered.csv", *of(X, 2, 0, 1)), **TINY)
    runs_ = [shutil.copytree(one, tmp_path / name) for one, name in ((run, "mine"), (other, "reordered"))]
    league = pyrovae.compare(runs_, samples=200, device="cpu")
    expected = {one.name: pyrovae.evaluate(one, Importance(samples=200), device="cpu").log_evidence.mean for one in runs_}
    assert {row.name: row.log_evidence for row in league.rows} == expected
    also = pyrovae.compare(runs_, data=str(home / "mine.csv"), samples=200, device="cpu")
    assert {row.name: row.log_evidence for row in also.rows} == pytest.approx(expected, rel=1e-6)


def test_tables_that_differ_in_a_value_are_different_data_in_whatever_order(run, make_run, home: Path) -> None:
    x = X.copy()
    x[7, 1] += 1
    other = make_run("columns-changed", data=table(home / "changed.csv", *of(x, 2, 0, 1)), **TINY)
    with pytest.raises(UserError, match="trained on different data"):
        pyrovae.compare([run, other], samples=5, device="cpu")


def test_data_that_one_of_the_runs_was_trained_on_are_no_comparison(run, turned, home: Path, make_run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"columns and .*turned: the first was trained on these data, the second was not"):
        pyrovae.compare([run, turned], data=str(home / "mine.csv"), samples=2, device="cpu")
    other = make_run("columns-fewer", data={"name": "csv", "path": str(home / "mine.csv"), "columns": "mass,width"}, **TINY)
    with pytest.raises(UserError, match="different shapes, 3 and 2"):
        pyrovae.compare([run, other], data=str(home / "mine.csv"), samples=2, device="cpu")
    names = table(home / "named.csv", ["a", "b", "c"], of(X, 0, 1, 2)[1])
    named = make_run("columns-named", data=names, **TINY)
    with pytest.raises(UserError, match=r"columns and .*named: trained on other columns, width, .* and a, b, c"):
        pyrovae.compare([run, named], data=names, samples=2, device="cpu")
