"""Data that a Python program has in memory, given to every function that takes data; only public names are used."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import pyrovae
from pyrovae import VAE, Dataset, Importance, UserError

X = np.random.default_rng(0).normal([3.0, -1.0, 0.5], [1.0, 0.2, 2.0], (60, 3))
Y = np.arange(60) % 3
NAMES = ["width", "height", "mass"]
FRAME = pd.DataFrame(X, columns=NAMES)
QUIET = {"epochs": 1, "device": "cpu", "progress": False}
OPTIONS = {"likelihood": "normal", "latent_dim": 2, "network": "linear", **QUIET}


class Stream(IterableDataset):
    """An iterable data set that ends."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


class Items(TorchDataset):
    """A map-style data set that counts how often an item is read."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.reads = items, 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        self.reads += 1
        return self.items[number]


WAYS: dict[str, Callable[[], Any]] = {
    "array": lambda: X,
    "read-only array": lambda: np.broadcast_to(X, X.shape),
    "Fortran order": lambda: np.asfortranarray(X),
    "tensor": lambda: torch.tensor(X),
    "tensor with a gradient": lambda: torch.tensor(X, requires_grad=True),
    "DataFrame": lambda: FRAME,
    "torch Dataset": lambda: TensorDataset(torch.tensor(X)),
    "torch Dataset with labels": lambda: TensorDataset(torch.tensor(X), torch.tensor(Y)),
    "Subset": lambda: Subset(TensorDataset(torch.tensor(np.concatenate([X, X]))), range(60)),
    "items of arrays": lambda: Items(list(X)),
    "DataLoader": lambda: DataLoader(TensorDataset(torch.tensor(X)), batch_size=7, shuffle=True),
    "IterableDataset": lambda: Stream(list(torch.tensor(X))),
    "DataLoader of a stream": lambda: DataLoader(Stream([(row, 1) for row in torch.tensor(X)]), batch_size=7),
    "Dataset": lambda: Dataset.from_arrays(X),
}


def model(**options: Any) -> VAE:
    torch.manual_seed(0)
    return VAE((3,), 2, "normal", network="linear", **options)


def numbers(model_or_run: Any, data: Any, **options: Any) -> tuple[str, int, str, float]:
    found = pyrovae.evaluate(model_or_run, Importance(samples=20), data=data, device="cpu", **options)
    return found.split, found.n, found.data_sha256, found.per_datum["estimate"].double().mean().item()


@pytest.fixture(scope="module")
def fitted() -> VAE:
    vae = model()
    pyrovae.fit(vae, X, **QUIET)
    return vae


# --- every way in is the same data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_trains_the_same_model(way, fitted):
    vae = model()
    pyrovae.fit(vae, WAYS[way](), **QUIET)
    for name, weights in fitted.state_dict().items():
        assert torch.equal(vae.state_dict()[name], weights), name


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_is_evaluated_alike_and_as_the_file_is(way, fitted, tmp_path):
    np.save(tmp_path / "x.npy", X)
    whole = {"split": "all"} if way == "Dataset" else {}
    assert numbers(fitted, WAYS[way](), **whole) == numbers(fitted, str(tmp_path / "x.npy"), split="all")


def test_data_that_a_model_in_memory_is_given_are_all_scored_whatever_the_split(fitted):
    assert numbers(fitted, X, split="train") == numbers(fitted, X, split="test") == numbers(fitted, X, split="all")


def test_a_loader_is_read_once_and_in_order(fitted):
    items = Items(list(X))
    found = pyrovae.encode(fitted, data=DataLoader(items, batch_size=7, shuffle=True))
    assert items.reads == 60
    np.testing.assert_allclose(found.mean, fitted.encode(X).mean.detach())


def test_what_is_trained_on_is_five_sixths_and_the_rest_validates():
    assert {split: len(rows) for split, rows in Dataset.from_arrays(X).rows.items()} == {"train": 50, "valid": 10, "test": 0}
    vae = model()
    result = pyrovae.fit(vae, X, **QUIET)
    assert np.isfinite(result.history[0]["valid_elbo"])


def test_a_fitted_model_finds_the_density_of_the_data():
    """Normal data and a linear Gaussian model: the evidence is near the entropy, and far above that of a fresh model."""
    x = np.random.default_rng(1).normal(5.0, 2.0, (2000, 1))
    vae = VAE((1,), 1, {"name": "normal", "scale": "learned"}, network="linear", preprocess="standardise")
    pyrovae.fit(vae, x, epochs=30, learning_rate=1e-2, device="cpu", progress=False)
    found = pyrovae.evaluate(vae, "exact", data=x, device="cpu").per_datum["estimate"].mean().item()
    assert abs(found - stats.norm(x.mean(), x.std()).logpdf(x).mean()) < 0.02


def test_other_functions_take_them_too(fitted, tmp_path):
    run = pyrovae.train(data=FRAME, out=tmp_path / "run", **OPTIONS).run
    assert pyrovae.encode(run, data=FRAME).mean.shape == (60, 2)
    assert pyrovae.to_arviz(run, samples=5, data=FRAME[:7] + 1, limit=None)["posterior"]["z"].shape == (1, 5, 7, 2)
    assert all(path.is_file() for path in pyrovae.figures(run, data=FRAME, only="reconstructions,latent"))
    labelled = Dataset.from_arrays(X, test=0.5, labels=Y)
    conditional = model(context="label", labels=labelled.spec.labels)
    pyrovae.fit(conditional, labelled, **QUIET)
    found = pyrovae.classify(conditional, data=TensorDataset(torch.tensor(X), torch.tensor(Y)), samples=5)
    assert (found.n, found.classes) == (60, ["0", "1", "2"])
    assert pyrovae.load_dataset(X).rows.keys() == {"train", "valid", "test"}


def test_the_example_of_the_docs_runs(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "log evidence" in done.stdout
    assert "torch.Size([5, 3])" in done.stdout
    assert "{'train': 333, 'valid': 67, 'test': 200}" in done.stdout


# --- kinds ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "options", "kind", "levels"),
    [
        (X, {}, "reals", None),
        (X > 0, {}, "binary", 2),
        ((X > 0).astype(float), {}, "binary", 2),
        ((X > 0).astype(np.uint8) * 200, {}, "levels", 256),
        (np.round(X).astype(int) ** 2, {}, "counts", None),
        (np.round(X), {}, "reals", None),
        (np.round(X).astype(int), {}, "reals", None),
        (np.clip(np.round(X), 0, 7), {"levels": 8}, "levels", 8),
        (np.clip(np.round(X), 0, 7), {"kind": "counts"}, "counts", None),
        (torch.tensor(X, dtype=torch.bfloat16), {}, "reals", None),
        (torch.tensor(X, dtype=torch.float16), {}, "reals", None),
    ],
)
def test_kinds_are_found_as_those_of_a_file_are(x, options, kind, levels, tmp_path):
    spec = Dataset.from_arrays(x, **options).spec
    assert (spec.kind, spec.levels) == (kind, levels)
    if isinstance(x, np.ndarray):
        np.save(tmp_path / "x.npy", x)
        of_file = pyrovae.load_dataset({"name": "file", "path": tmp_path / "x.npy", **options}).spec
        assert (of_file.kind, of_file.levels) == (kind, levels)


def test_numbers_are_taken_for_what_the_model_was_made_for():
    counts = np.random.default_rng(2).integers(0, 17, (50, 3)).astype(float)
    vae = VAE((3,), 2, "binomial", levels=17, network="linear")
    pyrovae.fit(vae, counts, **QUIET)
    assert (vae.spec.kind, vae.spec.levels) == ("levels", 17)
    assert pyrovae.evaluate(vae, Importance(samples=5), data=counts[:5], device="cpu").n == 5
    with pytest.raises(UserError, match=r"value \d+\.5 at \(0, 0\): the run models integers 0\.\.16"):
        pyrovae.evaluate(vae, Importance(samples=5), data=counts + 0.5)


def test_pictures_have_their_colours_first():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    data = Dataset.from_arrays(Items([(Image.fromarray(one), number % 2) for number, one in enumerate(pixels)]))
    assert (data.spec.event_shape, data.spec.kind, data.spec.class_names) == ((3, 4, 5), "levels", ("0", "1"))
    np.testing.assert_array_equal(data.x.numpy(), pixels.transpose(0, 3, 1, 2))
    with pytest.raises(UserError, match=r"mode RGBA; .*convert\('RGB'\)"):
        Dataset.from_arrays(Items([Image.new("RGBA", (4, 5))]))


# --- from_arrays ----------------------------------------------------------------------------------------------------------


def test_parts_are_kept_apart_and_in_order():
    data = Dataset.from_arrays(X[:40], X[40:45], X[45:], labels={"train": Y[:40], "valid": Y[40:45], "test": Y[45:]})
    np.testing.assert_allclose(data.train.x, X[:40])
    np.testing.assert_allclose(data.valid.x, X[40:45])
    np.testing.assert_allclose(data.test.x, X[45:])
    assert data.test.y.tolist() == Y[45:].tolist()


def test_shares_are_drawn_as_those_of_a_file(tmp_path):
    np.save(tmp_path / "x.npy", X)
    of_file = pyrovae.load_dataset({"name": "file", "path": tmp_path / "x.npy", "test": 0.25, "valid": 5, "split_seed": 3})
    data = Dataset.from_arrays(X, valid=5, test=0.25, split_seed=3)
    assert {name: rows.tolist() for name, rows in data.rows.items()} == {k: v.tolist() for k, v in of_file.rows.items()}
    assert len(Dataset.from_arrays(X, valid=0).rows["train"]) == 60


@pytest.mark.parametrize("labels", [Y, torch.tensor(Y), Y.astype(float), [int(code) for code in Y], pd.Series(Y)])
def test_labels_are_classes(labels):
    data = Dataset.from_arrays(X, labels=labels)
    assert data.spec.class_names == ("0", "1", "2")
    assert data.y.tolist() == Y.tolist()


def test_several_labels_have_names():
    both = np.stack([Y, 9 - Y], 1)
    data = Dataset.from_arrays(X, labels=both, label_names=["low", "high"])
    assert [(label.name, label.values) for label in data.spec.labels] == [("low", ("0", "1", "2")), ("high", ("7", "8", "9"))]
    assert [label.name for label in Dataset.from_arrays(X, labels=both).spec.labels] == ["y0", "y1"]


def test_columns_of_a_table_may_be_labels():
    table = FRAME.assign(colour=np.where(Y > 0, "red", "blue"), size=Y)
    one = Dataset.from_arrays(table.drop(columns="size"), labels="colour")
    assert (one.spec.columns, one.spec.class_names) == (tuple(NAMES), ("blue", "red"))
    several = Dataset.from_arrays(table, labels=["size", "colour"])
    assert [(label.name, label.values) for label in several.spec.labels] == [
        ("size", ("0", "1", "2")),
        ("colour", ("blue", "red")),
    ]
    assert several.y[:, 0].tolist() == Y.tolist()


# --- columns by name ------------------------------------------------------------------------------------------------------


def test_tables_are_matched_by_the_names_of_their_columns():
    vae = model()
    pyrovae.fit(vae, FRAME, **QUIET)
    assert vae.spec.columns == tuple(NAMES)
    expected = numbers(vae, FRAME)
    assert numbers(vae, FRAME[["mass", "width", "height"]]) == expected
    with pytest.warns(UserWarning, match="not used: the columns colour"):
        assert numbers(vae, FRAME.assign(colour="red")) == expected
    with pytest.warns(UserWarning, match="columns have no names; they are taken in the order width, height, mass"):
        assert numbers(vae, X) == expected
    with pytest.raises(UserError, match="has no column mass"):
        numbers(vae, FRAME[["width", "height"]])
    again = model(columns=["mass", "width", "height"])
    pyrovae.fit(again, FRAME, **QUIET)
    np.testing.assert_allclose(again.encode(X[:, [2, 0, 1]]).mean.detach(), pyrovae.encode(again, data=FRAME).mean, rtol=1e-5)


def test_a_table_and_its_file_are_the_same_data(tmp_path):
    FRAME.assign(kind=np.where(Y > 0, "u", "v")).to_csv(tmp_path / "t.csv", index=False, float_format="%.17g")
    table = pd.read_csv(tmp_path / "t.csv")
    data = {"name": "csv", "path": str(tmp_path / "t.csv"), "label": "kind", "test": 0.3, "split_seed": 4}
    run = pyrovae.train(data=data, out=tmp_path / "run", context="label", **OPTIONS).run
    own = numbers(run, None)
    assert numbers(run, table) == numbers(run, str(tmp_path / "t.csv")) == own
    assert own[:2] == ("test", 18)
    others = table.iloc[::-1].reset_index(drop=True)
    others.to_csv(tmp_path / "others.csv", index=False, float_format="%.17g")
    assert numbers(run, others) == numbers(run, tmp_path / "others.csv")
    assert pyrovae.encode(run, data=table).y.tolist() == [0 if kind == "u" else 1 for kind in table["kind"]]


# --- a run of such data ---------------------------------------------------------------------------------------------------


def test_a_run_says_that_it_needs_its_data_and_knows_them_again(tmp_path, cli):
    run = pyrovae.train(data=FRAME, out=tmp_path / "run", **OPTIONS).run
    with pytest.raises(UserError, match=r"has no data of its own: it was trained on data in memory.* give them with data"):
        pyrovae.evaluate(run)
    test = pyrovae.load_dataset(FRAME).test
    split, n, _, _ = numbers(run, FRAME)
    assert (split, n) == ("test", len(test))
    assert pyrovae.evaluate(run, Importance(samples=5), data=FRAME).per_datum["index"].tolist() == test.index.tolist()
    assert numbers(run, FRAME + 1)[:2] == ("all", 60)
    assert numbers(run, FRAME.iloc[:50])[:2] == ("all", 50)
    given = Dataset.from_arrays(FRAME, test=0.5)
    elsewhere = pyrovae.train(data=given, out=tmp_path / "elsewhere", **OPTIONS).run
    with pytest.raises(UserError, match="split otherwise; give the Dataset"):
        pyrovae.evaluate(elsewhere, data=FRAME)
    assert pyrovae.evaluate(elsewhere, Importance(samples=5), data=given).n == 30


def test_runs_of_such_data_are_compared_where_they_are_given_data(tmp_path):
    runs = [
        pyrovae.train(data=FRAME, out=tmp_path / f"run-{prior}", prior=prior, **OPTIONS).run for prior in ("normal", "laplace")
    ]
    with pytest.raises(UserError, match=r"has no data of its own.*give data to compare on"):
        pyrovae.compare(runs, samples=5, device="cpu")
    for data, n in ((FRAME, 10), (FRAME + 1, 60)):
        league = pyrovae.compare(runs, data=data, samples=50, device="cpu")
        estimator = Importance(samples=50)
        expected = {run.name: pyrovae.evaluate(run, estimator, data=data, device="cpu").log_evidence.mean for run in runs}
        assert league.n == n
        assert {row.name: row.log_evidence for row in league.rows} == expected


def test_a_run_of_such_data_goes_on_where_it_is_given_them_again(tmp_path):
    whole = pyrovae.train(data=FRAME, out=tmp_path / "whole", **{**OPTIONS, "epochs": 2})
    half = pyrovae.train(data=FRAME, out=tmp_path / "half", **OPTIONS).run
    with pytest.raises(UserError, match=r"has no data of its own.*give it them again"):
        pyrovae.resume(half, epochs=2, progress=False)
    with pytest.raises(UserError, match=r"has no data of its own.*give it them again"):
        pyrovae.train(out=half, resume=True, **{**OPTIONS, "epochs": 2})
    with pytest.raises(UserError, match="are not those of the run any more"):
        pyrovae.resume(half, epochs=2, progress=False, data=FRAME + 1)
    again = pyrovae.resume(half, epochs=2, progress=False, data=FRAME)
    for name, weights in whole.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[name], weights), name


# --- refusals -------------------------------------------------------------------------------------------------------------

MISSING = FRAME.copy()
MISSING.loc[[3, 5], "height"] = np.nan


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (FRAME.assign(kind="u"), r"column kind has type .*u in row 0.*table\.drop\(columns=\['kind'\]\).*labels='kind'"),
        (FRAME.assign(day=pd.Timestamp("2026-01-01")), "column day has type datetime64"),
        (MISSING, "column height of x has 2 missing values, the first in row 3"),
        (MISSING.astype({"height": "Float64"}), "column height of x has 2 missing values, the first in row 3"),
        (pd.concat([FRAME, FRAME], axis=1), "calls two columns width"),
        (torch.tensor(X, dtype=torch.complex64), "has type complex64; needs integers, reals or booleans"),
        (torch.zeros(5), r"x has shape \(5,\); .*x\.reshape\(-1, 1\)"),
        (np.full((4, 3), np.nan), "x has 12 NaN or infinite values"),
        (np.ma.masked_less(X, 0), "has masked values"),
        (np.array([["a", "b", "c"]]), "has type <U1"),
        (Items([{"x": X[0]}]), "item 0 is a mapping of x; items are x, or "),
        (Items([(X[0], 1, 2)]), "item 0 is 3 things"),
        (Items([X[0], X[0, :2]]), r"item 1 has shape \(2,\), the first \(3,\)"),
        (Items([(X[0], 1), X[1]]), "item 1 has no label, and the first has one"),
        (Items(["a"]), "item 0 is a; items are numbers"),
        (Items([]), "has no items"),
        (X[:, :2], r"has data of shape \(2,\) each, the VAE was built for \(3,\)"),
        ([1, 2], "is none of what data may be; give a name, a path, a mapping with a name, or a tensor"),
        (7, "is none of what data may be"),
    ],
)
def test_what_is_no_data_is_refused_by_name_and_no_tensor_is_printed(data, says, fitted):
    with pytest.raises(UserError, match=says) as refusal:
        pyrovae.evaluate(fitted, data=data)
    assert len(str(refusal.value)) < 400
    with pytest.raises(UserError):
        pyrovae.fit(model(), data, **QUIET)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (([1, 2],), {}, r"train=\[1, 2\]: needs a tensor, an array"),
        ((X, "half"), {}, "valid='half': needs a tensor, .*or the share"),
        ((X, 0.5, 1.5), {}, "test"),
        ((X, X, 0.5), {}, "test=0.5: is a share, and the validation data are given"),
        ((X, 60), {}, "leaves none to train on"),
        ((X,), {"labels": Y[:4]}, r"the labels of 60 data have shape \(4,\)"),
        ((X,), {"labels": X[:, 0]}, "which names no class"),
        ((X,), {"labels": [None] * 60}, "lack some"),
        ((X, X), {"labels": Y}, r"are of one part.*'valid': \.\.\."),
        ((X, X), {"labels": {"train": Y}}, "label every part or none"),
        ((FRAME,), {"labels": "colour"}, "labels='colour': .*has no such column"),
        ((FRAME.assign(kind=[None, *["u"] * 59]),), {"labels": "kind"}, "column kind has no label in 1 rows, the first .*row 0"),
        ((X,), {"labels": np.stack([Y, Y], 1), "label_names": ["a"]}, "needs 2 names"),
        ((X,), {"columns": ["a"]}, "needs a name for each element"),
        ((FRAME, FRAME[NAMES[::-1]]), {}, "have other columns"),
        ((X, X[:, :2]), {}, "they must agree"),
        ((X,), {"kind": "pictures"}, "is none of auto, levels"),
        ((X,), {"kind": "counts"}, "allows integers"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(arguments, options, says):
    with pytest.raises(UserError, match=says) as refusal:
        Dataset.from_arrays(*arguments, **options)
    assert len(str(refusal.value)) < 400


def test_a_stream_without_end_is_refused_before_the_memory_is_full(monkeypatch):
    class Endless(IterableDataset):
        def __iter__(self) -> Iterator[np.ndarray]:
            while True:
                yield np.zeros(1000)

    monkeypatch.setattr("pyrovae.system.bounds.free_memory", lambda: 10**7)
    with pytest.raises(UserError, match=r"items and needs .* GB of memory.*that ends"):
        Dataset.from_arrays(Endless())


def test_runs_of_a_sweep_cannot_find_data_in_memory_again(tmp_path):
    with pytest.raises(UserError, match=r"cannot find data in memory again; .*np\.save"):
        pyrovae.sweep(data=X, out=tmp_path / "sweep", progress=False)


def test_pandas_is_not_needed(tmp_path):
    """A program that has no pandas, such as one that never imports it, gives arrays all the same."""
    code = "import sys, torch, pyrovae; pyrovae.Dataset.from_arrays(torch.rand(9, 2)); print('pandas' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


# --- a file by whatever name ----------------------------------------------------------------------------------------------


def spellings(path: Path, name: str) -> list[Any]:
    return [str(path), path, {"name": name, "path": str(path)}, {"name": name, "path": path}, {"name": str(path)}]


@pytest.mark.parametrize("kind", ["csv", "npy", "npz", "folder"])
@pytest.mark.parametrize("own", [True, False])
def test_a_file_is_the_same_data_however_it_is_named(kind, own, tmp_path):
    paths = {}
    for name, seed in (("own", 0), ("other", 1)):
        x = np.random.default_rng(seed).normal(size=(40, 4))
        path = paths[name] = tmp_path / f"{name}{'' if kind == 'folder' else '.' + kind}"
        if kind == "csv":
            pd.DataFrame(x, columns=list("abcd")).assign(label=Y[:40]).to_csv(path, index=False)
        elif kind == "npy":
            np.save(path, x)
        elif kind == "npz":
            np.savez(path, x=x, y=Y[:40])
        else:
            from PIL import Image

            for number, row in enumerate((x - x.min()) / np.ptp(x) * 255):
                (path / str(number % 2)).mkdir(parents=True, exist_ok=True)
                Image.fromarray(row.reshape(2, 2).astype(np.uint8)).save(path / str(number % 2) / f"{number:02}.png")
    source = {"csv": "csv", "folder": "images"}.get(kind, "file")
    labelled = {"context": "label"} if kind != "npy" else {}
    data = {"name": source, "path": paths["own"], "test": 0.3, **({"label": "label"} if kind == "csv" else {})}
    run = pyrovae.train(data=data, out=tmp_path / "run", **labelled, **OPTIONS).run
    given = spellings(paths["own" if own else "other"], source)
    with warnings.catch_warnings():
        found = [numbers(run, one) for one in given]
        assert found == [found[0]] * len(given)
        assert found[0][:2] == (("test", 12) if own else ("all", 40))
        means = [pyrovae.encode(run, data=one, device="cpu").mean for one in given]
        assert all(torch.equal(one, means[0]) for one in means)
        if labelled:
            scores = [pyrovae.classify(run, data=one, samples=3, device="cpu").log_score for one in given]
            assert scores == [scores[0]] * len(given)
        drawn = [[path.read_bytes() for path in pyrovae.figures(run, data=one, only="latent")] for one in given]
        assert drawn == [drawn[0]] * len(given)
