"""Data sets: what is loaded, how it is split, and what is said of files that cannot be used."""

from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from formats import idx
from sklearn.datasets import load_digits

from pyrovae import Dataset, UserError, load_dataset, train
from pyrovae.cli.spelling import with_flags
from pyrovae.data import from_path

RANDOM = np.random.default_rng(0)
REALS = RANDOM.normal(size=(60, 2, 3)).astype(np.float32)


def save(folder: Path, name: str, *array: np.ndarray, **arrays: np.ndarray) -> Path:
    path = folder / name
    (np.save if path.suffix == ".npy" else np.savez_compressed)(path, *array, **arrays)
    return path


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset({"name": str(path), **options})


def rows_of(dataset: Dataset) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in dataset.rows.items()}


def sizes_of(dataset: Dataset) -> dict[str, int]:
    return {name: len(rows) for name, rows in dataset.rows.items()}


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn() -> None:
    dataset, bunch = load_dataset("digits"), load_digits()
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((8, 8), "levels", 17)
    assert dataset.x.dtype == torch.uint8
    np.testing.assert_array_equal(dataset.x.numpy(), bunch.images)
    np.testing.assert_array_equal(dataset.y.numpy(), bunch.target)
    assert [int(name) for name in dataset.spec.class_names] == bunch.target_names.tolist()


# --- splits -----------------------------------------------------------------------------------------------------------


SEEDED: dict[str, Callable[[Path], Any]] = {
    "digits": lambda folder: "digits",
    "x": lambda folder: str(save(folder, "x.npy", REALS)),
    "train and test": lambda folder: str(save(folder, "x.npz", train=REALS[:40], test=REALS[40:])),
}
SPLIT_SOURCES = pytest.mark.parametrize("source", SEEDED.values(), ids=SEEDED.keys())


@SPLIT_SOURCES
@pytest.mark.parametrize("valid", [0, 7, 0.25])
def test_splits_are_disjoint_and_cover_everything(source: Callable[[Path], Any], valid: float, tmp_path: Path) -> None:
    dataset = load_dataset({"name": source(tmp_path), "valid": valid})
    rows = rows_of(dataset)
    assert set(rows) == {"train", "valid", "test"}
    assert sorted(rows["train"] + rows["valid"] + rows["test"]) == list(range(len(dataset.x)))
    rest = len(rows["train"]) + len(rows["valid"])
    assert len(rows["valid"]) == (valid if valid >= 1 else round(valid * rest))
    assert torch.equal(dataset.train.x, dataset.x[rows["train"]])
    assert dataset.train.index.tolist() == rows["train"]


@SPLIT_SOURCES
def test_splits_follow_their_seed(source: Callable[[Path], Any], tmp_path: Path) -> None:
    name = source(tmp_path)
    once, again, other = (rows_of(load_dataset({"name": name, "split_seed": seed})) for seed in (3, 3, 4))
    assert once == again
    assert once["valid"] != other["valid"]


def test_splits_do_not_follow_or_move_the_global_seed() -> None:
    before = torch.random.get_rng_state()
    once = rows_of(load_dataset("digits"))
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert rows_of(load_dataset("digits")) == once


def test_sizes_are_sixths_unless_they_are_given(tmp_path: Path) -> None:
    path = save(tmp_path, "x.npy", REALS)
    # 60 data: 10 for the test, and of the other 50 a sixth, 8.33, for the validation.
    assert sizes_of(load(path)) == {"train": 42, "valid": 8, "test": 10}
    assert sizes_of(load(path, test=20, valid=0.5)) == {"train": 20, "valid": 20, "test": 20}
    assert sizes_of(load(path, test=0, valid=0)) == {"train": 60, "valid": 0, "test": 0}


def test_without_validation_data_there_is_no_validation_split(tmp_path: Path) -> None:
    dataset = load(save(tmp_path, "x.npy", REALS), valid=0, test=0)
    assert dataset.valid is None
    with pytest.raises(UserError, match="split='test': has no data"):
        dataset.split("test")
    with pytest.raises(UserError, match="split='foo': unknown; there are train, valid, test, all"):
        dataset.split("foo")
    assert torch.equal(dataset.split("all").x, dataset.x)


def test_subsets_are_seeded_parts_of_their_split() -> None:
    split = load_dataset("digits").test
    once, again, other = split.subset(50, 1), split.subset(50, 1), split.subset(50, 2)
    assert once.index.tolist() == again.index.tolist() == sorted(set(once.index.tolist()))
    assert set(once.index.tolist()) < set(split.index.tolist())
    assert once.index.tolist() != other.index.tolist()
    assert torch.equal(once.x, load_dataset("digits").x[once.index])
    assert split.subset(10_000, 1) is split


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("valid", -0.1), ("valid", float("nan")), ("valid", 1.5), ("valid", 50), ("valid", 0.999), ("test", -1),
        ("test", 60), ("test", 0.999), ("test", 1.5), ("split_seed", -1), ("kind", "foo"), ("levels", 1), ("levels", 2.5),
    ],
)  # fmt: skip
def test_bad_options_name_their_flag(option: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(save(tmp_path, "x.npy", REALS), **{option: value})
    assert f"--data.{option.replace('_', '-')} {value}" in with_flags(error.value)


# --- your own arrays --------------------------------------------------------------------------------------------------


def test_rows_of_a_npy_file_stay_where_they_were(tmp_path: Path) -> None:
    dataset = load(save(tmp_path, "x.npy", REALS))
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((2, 3), "reals", None)
    np.testing.assert_array_equal(dataset.x.numpy(), REALS)
    assert dataset.y is None


def test_given_splits_are_kept(tmp_path: Path) -> None:
    parts = {"train": REALS[:30], "valid": REALS[30:45], "test": REALS[45:]}
    dataset = load(save(tmp_path, "x.npz", **parts))
    for name, part in parts.items():
        np.testing.assert_array_equal(dataset.split(name).x.numpy(), part)


@pytest.mark.parametrize(("option", "given"), [("valid", "valid"), ("test", "test"), ("test", "valid")])
def test_a_share_that_is_not_taken_is_named(option: str, given: str, tmp_path: Path) -> None:
    path = save(tmp_path, "x.npz", **{"train": REALS[:30], given: REALS[30:]})
    with pytest.warns(UserWarning, match=f"data.{option}=0.25: not used, for .* has splits of its own: train, {given}"):
        dataset = load(path, **{option: 0.25})
    assert len(dataset.train) + len(dataset.rows["valid"]) + len(dataset.rows["test"]) == len(REALS)


USUAL_NAMES = {
    "keras": ("x_train", None, "x_test"),
    "scikit-learn": ("X_train", "X_val", "X_test"),
    "medmnist": ("train_images", "val_images", "test_images"),
    "long": ("training", "Validation", "TESTING"),
    "short": ("trainX", "dev", "Xtest"),
}


@pytest.mark.parametrize(("train", "valid", "test"), USUAL_NAMES.values(), ids=USUAL_NAMES.keys())
def test_arrays_with_the_usual_names_are_splits(train: str, valid: str | None, test: str, tmp_path: Path) -> None:
    parts = {train: REALS[:30], test: REALS[45:]} | ({} if valid is None else {valid: REALS[30:45]})
    dataset = load(save(tmp_path, "x.npz", **parts), valid=0)
    for split, name in {"train": train, "valid": valid, "test": test}.items():
        assert len(dataset.rows[split]) == len(parts.get(name, ()))
        if name is not None:
            np.testing.assert_array_equal(dataset.split(split).x.numpy(), parts[name])


@pytest.mark.parametrize("labels", ["y_{}", "{}_labels", "Y_{}", "{}Targets"])
def test_labels_have_the_usual_names_too(labels: str, tmp_path: Path) -> None:
    rows = {"train": slice(30), "val": slice(30, 45), "test": slice(45, 60)}
    codes = np.arange(60) * 7 % 60
    arrays = {f"X_{name}": REALS[part] for name, part in rows.items()}
    dataset = load(save(tmp_path, "x.npz", **arrays, **{labels.format(name): codes[part] for name, part in rows.items()}))
    assert dataset.y.tolist() == codes.tolist()
    np.testing.assert_array_equal(dataset.valid.y.numpy(), codes[30:45])


def test_arrays_that_are_not_used_are_named(tmp_path: Path) -> None:
    arrays = {"X": REALS, "weights": REALS[:3], "y_test": np.zeros(60)}
    with pytest.warns(UserWarning, match=r"x\.npz: not used: weights, y_test$"):
        dataset = load(save(tmp_path, "x.npz", **arrays))
    np.testing.assert_array_equal(dataset.x.numpy(), REALS)
    assert dataset.y is None


def test_validation_data_come_from_the_training_data(tmp_path: Path) -> None:
    dataset = load(save(tmp_path, "x.npz", train=REALS[:40], test=REALS[40:]), valid=10)
    np.testing.assert_array_equal(dataset.test.x.numpy(), REALS[40:])
    assert sizes_of(dataset) == {"train": 30, "valid": 10, "test": 20}


def test_labels_stay_with_their_data(tmp_path: Path) -> None:
    labels = np.array(["cat", "dog", "ant"])[np.arange(60) % 3]
    dataset = load(save(tmp_path, "x.npz", x=REALS, y=labels))
    assert dataset.spec.class_names == ("ant", "cat", "dog")
    for name in ("train", "valid", "test"):
        split = dataset.split(name)
        assert [dataset.spec.class_names[code] for code in split.y] == labels[split.index].tolist()


def test_labels_of_given_splits_share_their_codes(tmp_path: Path) -> None:
    arrays = {"train": REALS[:40], "test": REALS[40:], "y_train": np.arange(40) % 5, "y_test": np.full(20, 7)}
    dataset = load(save(tmp_path, "x.npz", **arrays))
    assert dataset.spec.class_names == ("0", "1", "2", "3", "4", "7")
    assert dataset.test.y.tolist() == [5] * 20


@pytest.mark.parametrize("named", [True, False])
def test_several_labels_are_attributes(named: bool, tmp_path: Path) -> None:
    labels = np.stack([np.arange(60) % 3 * 5, np.arange(60) % 2], axis=1)
    names = {"attributes": np.array(["size", "glasses"])} if named else {}
    dataset = load(save(tmp_path, "x.npz", train=REALS[:40], test=REALS[40:], y_train=labels[:40], y_test=labels[40:], **names))
    assert dataset.spec.class_names == ()
    assert [label.name for label in dataset.spec.attributes] == (["size", "glasses"] if named else ["y0", "y1"])
    assert dataset.spec.labels == dataset.spec.attributes
    for split in (dataset.train, dataset.valid, dataset.test):
        read = [[int(dataset.spec.attributes[a].values[code]) for a, code in enumerate(row)] for row in split.y.tolist()]
        assert read == labels[split.index].tolist()
    assert torch.equal(dataset.test.subset(5, 0).y, dataset.y[dataset.test.subset(5, 0).index])


def test_several_labels_may_be_text(tmp_path: Path) -> None:
    labels = np.array([["no", "red"], ["yes", "blue"]])[np.arange(60) % 2]
    dataset = load(save(tmp_path, "x.npz", x=REALS, y=labels))
    assert [label.values for label in dataset.spec.attributes] == [("no", "yes"), ("blue", "red")]
    assert dataset.y[:2].tolist() == [[0, 1], [1, 0]]


BYTES = np.arange(60, dtype=np.uint8).reshape(10, 6)
BITS = BYTES % 2


@pytest.mark.parametrize(
    ("x", "options", "kind", "levels"),
    [
        (BYTES, {}, "levels", 256),
        (BITS, {}, "binary", 2),
        (BITS.astype(bool), {}, "binary", 2),
        (BITS.astype(np.float64), {}, "binary", 2),
        (BYTES.astype(np.int64), {}, "counts", None),
        (BYTES.astype(">i2"), {}, "counts", None),
        (BYTES.astype(np.int8) - 5, {}, "reals", None),
        (BYTES.astype(np.float16), {}, "reals", None),
        (BYTES.astype(np.float64) / 7, {}, "reals", None),
        (BYTES.astype(np.int64), {"levels": 60}, "levels", 60),
        (BYTES.astype(np.float32), {"levels": 64}, "levels", 64),
        (BITS, {"kind": "levels", "levels": 4}, "levels", 4),
        (BITS, {"kind": "levels"}, "levels", 256),
        (BYTES, {"kind": "counts"}, "counts", None),
        (BYTES, {"kind": "reals"}, "reals", None),
        (BITS.astype(np.int64), {"kind": "binary"}, "binary", 2),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else str(value),
)
def test_kinds(x: np.ndarray, options: dict[str, Any], kind: str, levels: int | None, tmp_path: Path) -> None:
    dataset = load(save(tmp_path, "x.npy", x), **options)
    assert (dataset.spec.kind, dataset.spec.levels) == (kind, levels)
    wide = not (x.astype(np.float32) == x).all()
    assert dataset.x.dtype == (torch.uint8 if x.dtype in (np.uint8, np.bool_) else torch.float64 if wide else torch.float32)
    np.testing.assert_array_equal(dataset.x.numpy(), x)


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (BYTES, {"levels": 59}, r"value 59 at \(9, 5\).*integers 0\.\.58"),
        (BYTES, {"kind": "binary"}, r"value 2 at \(0, 2\).*integers 0\.\.1"),
        (BYTES.astype(np.int64), {"kind": "levels"}, r"data\.levels=L"),
        (BYTES - 3.0, {"kind": "counts"}, r"value -3 at \(0, 0\).*integers from 0 up"),
        (BYTES / 2, {"kind": "counts"}, r"value 0\.5 at \(0, 1\)"),
    ],
)
def test_numbers_that_are_not_of_their_kind_are_refused(
    x: np.ndarray, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        load(save(tmp_path, "x.npy", x), **options)


def with_bad_values() -> np.ndarray:
    x = REALS.copy()
    x[3, 1, 2], x[7, 0, 0], x[8, 0, 1] = np.nan, np.inf, -np.inf
    return x


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": with_bad_values()}, r"x has 3 NaN or infinite values, the first at \(3, 1, 2\)"),
        ({"train": REALS, "test": with_bad_values()}, r"test has 3 NaN or infinite values"),
        ({"x": REALS.astype(np.float64) * 1e300}, r"x has .*\(0, 0, 0\)"),  # float32, in which they are kept, ends at 3.4e38
        ({"x": np.array([[0, 1], [2**24 + 1, 2]])}, r"16777217.*\(1, 0\)"),  # the first integer that float32 does not have
        ({"x": REALS[:0]}, r"\(0, 2, 3\); needs data with at least one number each"),
        ({"x": np.zeros((5, 0))}, r"\(5, 0\)"),
        ({"x": np.zeros(5)}, r"\(5,\); needs \(number of data, \.\.\.\)"),
        ({"x": np.array(5.0)}, r"\(\)"),
        ({"train": REALS, "test": REALS[:, :1]}, r"test has data of shape \(1, 3\), the others \(2, 3\)"),
        ({"x": np.array([["a", "b"], ["c", "d"]])}, "type <U1; needs integers, reals or booleans"),
        ({"x": np.ones((3, 2), complex)}, "type complex128"),
        ({"x": np.zeros((3, 2), "datetime64[s]")}, "type datetime64"),
        ({"x": np.zeros((3, 2), [("a", "f4")])}, "needs integers, reals or booleans"),
        ({"data": REALS}, "has data; needs x, or train and test"),
        ({"test": REALS}, "has test and nothing called train; add it, or call test x, to use all of it"),
        ({"X_val": REALS, "Test": REALS}, "has X_val, Test and nothing called train; add it, or call X_val x"),
        ({"train": REALS, "val": REALS, "X_valid": REALS}, "has val and X_valid, two names for one split; keep one"),
        ({"x_train": REALS, "X_Train": REALS}, "has x_train and X_Train, two names for one split"),
        ({"x": REALS, "X_test": REALS}, "has x and X_test; call x train, or leave out what is not wanted"),
        ({"X": REALS, "x": REALS}, "has X and x, two names for one split"),
        ({"X_train": REALS, "X_test": REALS, "y_train": np.zeros(60, int)}, "has labels but no y_test; label every part or none"),
        ({}, "has no arrays; needs x, or train and test"),
        (
            {"x": REALS, "y": np.zeros((60, 1, 1))},
            r"labels of x have shape \(60, 1, 1\); needs \(60,\) or \(60, number of labels\)",
        ),
        ({"x": REALS, "y": np.zeros((60, 0), int)}, r"labels of x have shape \(60, 0\)"),
        ({"x": REALS, "y": np.zeros((60, 2), int), "attributes": ["a"]}, r"attributes has shape \(1,\).*needs 2 different names"),
        ({"x": REALS, "y": np.zeros((60, 2), int), "attributes": ["a", "a"]}, "needs 2 different names"),
        ({"x": REALS, "y": np.zeros(60, int), "attributes": ["a"]}, "attributes.* one label per datum"),
        ({"x": REALS, "attributes": ["a"]}, "has attributes, the names of labels, but no y"),
        (
            {"train": REALS, "test": REALS, "y_train": np.zeros((60, 2), int), "y_test": np.zeros(60, int)},
            r"labels of test have shape \(60,\), those of train \(2,\) per datum",
        ),
        ({"x": REALS, "y": np.zeros(59)}, r"labels of x have shape \(59,\); needs \(60,\)"),
        ({"train": REALS, "test": REALS, "y_train": np.zeros(60)}, "y_test"),
        (
            {"train": REALS, "test": REALS, "y_train": np.zeros(60), "y_test": np.zeros(3)},
            r"labels of test have shape \(3,\); needs \(60,\)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_arrays_that_cannot_be_used_are_refused(arrays: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    path = save(tmp_path, "mine.npz", **arrays)
    with pytest.raises(UserError, match=said) as error:
        load(path)
    assert str(path) in str(error.value)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["mine.npy", "mine.npz"])
def test_objects_are_never_unpickled(name: str, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    array = np.array([[Trap(sprung)], [1]], dtype=object)
    path = save(tmp_path, name, array) if name.endswith("npy") else save(tmp_path, name, x=array)
    with pytest.raises(UserError, match="never unpickled"):
        load(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": REALS, "y": np.full((60, 2), 0.5)}, r"y has type float64.* integers, booleans or text: np\.digitize\(y, edges\)"),
        ({"x": REALS, "y": np.linspace(0, 1, 60)}, "y has type float64, such as 0.0 in row 0; .*y.astype"),
        ({"x": REALS, "y": np.where(np.arange(60) == 7, np.nan, 1.0)}, "y has no label in 1 rows, the first of them row 7 .*nan"),
        ({"x": REALS, "y": np.where(np.arange(60) > 56, "nan", "a")}, "y has no label in 3 rows, the first of them row 57 .*nan"),
        ({"x": REALS, "y": np.where(np.arange(60) == 3, " ", "a")}, "row 3 .*give it one, such as unknown, or remove the row"),
        ({"x": REALS, "y": np.where(np.eye(60, 2) > 0, "NA", "a")}, "y has no label in 2 rows, the first of them row 0"),
        ({"x": REALS, "y": np.zeros(60, "datetime64[s]")}, "y has type datetime64"),
        ({"train": REALS, "test": REALS, "y_train": np.zeros(60, int), "y_test": np.ones(60) / 2}, "y_test has type float64"),
        ({"x": REALS, "y": np.where(np.arange(60) == 3, "None", "a")}, "y has no label in 1 rows, the first of them row 3"),
    ],
)
def test_what_names_no_classes_is_left_out_and_said(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    """A model without --context label does not need it; one with it is refused."""
    path = save(tmp_path, "x.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    with pytest.warns(UserWarning, match=f"{said}.*until then the data have no labels"):
        dataset = load(path)
    assert (dataset.y, dataset.spec.labels) == (None, ())
    with pytest.warns(UserWarning, match=said), pytest.raises(UserError, match="context='label': the data have no labels"):
        train(data=str(path), likelihood="normal", context="label", out=str(tmp_path / "run"), progress=False)


def test_whole_numbers_that_are_stored_as_floats_are_labels(tmp_path: Path) -> None:
    """np.loadtxt makes floats of everything."""
    labels = np.arange(60) % 12
    dataset = load(save(tmp_path, "x.npz", x=REALS, y=labels.astype(float)))
    assert dataset.spec.class_names == tuple(map(str, range(12)))
    assert dataset.y.tolist() == labels.tolist()


def test_labels_are_never_unpickled(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = save(tmp_path, "mine.npz", x=REALS, y=np.array([Trap(sprung)] * 60, dtype=object))
    with pytest.warns(UserWarning, match=r"never unpickled; y\.astype\(str\) .* until then the data have no labels"):
        assert load(path).y is None
    assert not sprung.exists()


# --- files that cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none.npy", "none.npz", "folder/none.npy"])
def test_missing_files_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file") as error:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.txt", b"1,2\n3,4\n"), ("x.npy", b""), ("x.npy", b"1,2\n3,4\n"), ("x.npz", b"PK\x03\x04"), ("x.npz", b"\x93NUMPY")],
    ids=str,
)
def test_other_files_are_refused_by_name(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def refused_or_loaded(path: Path) -> str | None:
    """None where the file loads, otherwise the name of the exception."""
    try:
        load(path, valid=0, test=0)
    except Exception as error:
        return type(error).__name__
    return None


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    path = save(tmp_path, name, REALS) if name.endswith("npy") else save(tmp_path, name, x=REALS)
    content = path.read_bytes()
    found = set()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        found.add(refused_or_loaded(path))
    assert found == {"UserError"}


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_no_damaged_byte_makes_anything_but_a_refusal(name: str, tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(3, 2)
    path = save(tmp_path, name, x) if name.endswith("npy") else save(tmp_path, name, x=x)
    content = path.read_bytes()
    found = {}
    for position in range(len(content)):
        for flip in (0x01, 0x08, 0xFF):
            path.write_bytes(content[:position] + bytes([content[position] ^ flip]) + content[position + 1 :])
            found.setdefault(refused_or_loaded(path), []).append((position, flip))
    assert set(found) <= {None, "UserError"}, found


def test_a_header_that_claims_more_than_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**9)})
    with pytest.raises(UserError) as error:
        load(path)
    assert str(path) in str(error.value)


def test_an_archive_of_other_things_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "no array")
    with pytest.raises(UserError) as error:
        load(path)
    assert str(path) in str(error.value)


# --- names and paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("digits", "digits"),
        ("mnist", "mnist"),
        ("fashion_mnist", "fashion_mnist"),
        ("tables/mine.csv", {"name": "csv", "path": "tables/mine.csv"}),
        ({"name": "mine.CSV", "label": "a"}, {"name": "csv", "path": "mine.CSV", "label": "a"}),
        ("folder/spectra", {"name": "file", "path": "folder/spectra"}),
        (Path("spectra.npz"), {"name": "file", "path": "spectra.npz"}),
        ({"name": "spectra.npy", "valid": 3}, {"name": "file", "path": "spectra.npy", "valid": 3}),
        ({"name": "digits", "valid": 3}, {"name": "digits", "valid": 3}),
    ],
)
def test_names_are_told_from_paths(given: object, found: object) -> None:
    assert from_path(given) == found


@pytest.mark.parametrize("name", ["photographs", "./photographs", "./mnist", Path("mnist")], ids=repr)
def test_folders_are_pictures(name: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photographs", "mnist"):
        (tmp_path / folder).mkdir()
    assert from_path(name) == {"name": "images", "path": str(name)}
    assert from_path("mnist") == "mnist"


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(UserError, match=r"data='digit': unknown; did you mean digits\?"):
        load_dataset("digit")


# --- idx files --------------------------------------------------------------------------------------------------------


IDX_SETS = pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
IMAGES = {
    "train": RANDOM.integers(0, 256, (12, 28, 28), dtype=np.uint8),
    "t10k": RANDOM.integers(0, 256, (4, 28, 28), dtype=np.uint8),
}
LABELS = {"train": np.arange(12, dtype=np.uint8) % 10, "t10k": np.arange(4, dtype=np.uint8)}


def write_idx(root: Path, folder: str = "MNIST") -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(IMAGES[part]))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(LABELS[part]))
    return raw


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise URLError("the network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@IDX_SETS
@pytest.mark.usefixtures("no_network")
def test_idx_files_are_loaded_from_the_data_root(name: str, folder: str, tmp_path: Path) -> None:
    write_idx(tmp_path, folder)
    dataset = load_dataset({"name": name, "valid": 3}, data_root=str(tmp_path))
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((28, 28), "levels", 256)
    assert dataset.x.dtype == torch.uint8
    np.testing.assert_array_equal(dataset.x.numpy(), np.concatenate([IMAGES["train"], IMAGES["t10k"]]))
    np.testing.assert_array_equal(dataset.test.x.numpy(), IMAGES["t10k"])
    np.testing.assert_array_equal(dataset.test.y.numpy(), LABELS["t10k"])
    assert sizes_of(dataset) == {"train": 9, "valid": 3, "test": 4}
    assert len(dataset.spec.class_names) == 10


@pytest.mark.usefixtures("no_network")
def test_the_data_root_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path)
    monkeypatch.setenv("PYROVAE_DATA", str(tmp_path))
    assert len(load_dataset("mnist").x) == 16


@IDX_SETS
@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_files_and_their_folder_are_named(name: str, folder: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_dataset(name, data_root=str(tmp_path))
    said = with_flags(error.value)
    assert str(tmp_path / folder / "raw") in said
    for text in (
        f"--data {name}",
        "train-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "--data-root",
        "PYROVAE_DATA",
        "unreachable",
    ):
        assert text in said


def compress_idx(raw: Path) -> list[tuple[str, str]]:
    """Replace the files by .gz files; their names and checksums."""
    for path in list(raw.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in raw.iterdir()]


@pytest.mark.usefixtures("no_network")
def test_compressed_files_are_unpacked_where_their_checksum_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_idx(tmp_path)
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", compress_idx(raw))
    dataset = load_dataset("mnist", data_root=str(tmp_path))
    np.testing.assert_array_equal(dataset.test.x.numpy(), IMAGES["t10k"])


@pytest.mark.usefixtures("no_network")
def test_compressed_files_with_a_wrong_checksum_are_not_unpacked(tmp_path: Path) -> None:
    raw = write_idx(tmp_path)
    compress_idx(raw)
    with pytest.raises(UserError, match="data='mnist'"):
        load_dataset("mnist", data_root=str(tmp_path))
    assert {path.suffix for path in raw.iterdir()} == {".gz"}


def write_traps(folder: Path) -> Path:
    """The pickles that torchvision made of the images until 2020, here with a trap; the folder that it would make."""
    processed, sprung = folder / "processed", folder / "sprung"
    processed.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save(Trap(sprung), processed / name)
    return sprung


@pytest.mark.usefixtures("no_network")
def test_old_torch_files_beside_the_images_are_never_unpickled(tmp_path: Path) -> None:
    write_idx(tmp_path)
    sprung = write_traps(tmp_path / "MNIST")
    dataset = load_dataset("mnist", data_root=str(tmp_path))
    assert not sprung.exists()
    np.testing.assert_array_equal(dataset.test.x.numpy(), IMAGES["t10k"])


@pytest.mark.usefixtures("no_network")
def test_old_torch_files_are_no_images(tmp_path: Path) -> None:
    sprung = write_traps(tmp_path / "MNIST")
    with pytest.raises(UserError, match="data='mnist': could not be downloaded"):
        load_dataset("mnist", data_root=str(tmp_path))
    assert not sprung.exists()


def test_a_data_root_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data_root='.*none': no such folder"):
        load_dataset("mnist", data_root=str(tmp_path / "none"))


IMAGE_FILE, LABEL_FILE = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (LABEL_FILE, idx(LABELS["train"] + 1)),
        (IMAGE_FILE, b""),
        (IMAGE_FILE, idx(IMAGES["train"])[:10]),
        (IMAGE_FILE, idx(IMAGES["train"])[:-1]),
        (IMAGE_FILE, b"\x1f\x8b" + idx(IMAGES["train"])),
        (IMAGE_FILE, idx(IMAGES["train"], code=10)),
        (IMAGE_FILE, idx(IMAGES["train"], code=9)),
        (IMAGE_FILE, idx(LABELS["train"])),
        (LABEL_FILE, idx(IMAGES["train"])),
        (LABEL_FILE, idx(LABELS["train"][:-1])),
    ],
    ids=[
        "an eleventh class", "empty", "header cut", "last byte missing", "no magic", "unknown type", "signed bytes",
        "labels for images", "images for labels", "a label missing",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_network")
def test_damaged_idx_files_are_refused_by_name(file: str, content: bytes, tmp_path: Path) -> None:
    raw = write_idx(tmp_path)
    (raw / file).write_bytes(content)
    with pytest.raises(UserError, match=r"data='mnist': .* (is|are) damaged") as error:
        load_dataset("mnist", data_root=str(tmp_path))
    assert str(raw) in str(error.value)


IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
DATA_ROOT = Path(os.environ.get("PYROVAE_DATA") or "nowhere")


def real(name: str, folder: str, mean: float, deviation: float) -> Any:
    missing = [file for file in IDX_NAMES if not (DATA_ROOT / folder / "raw" / file).is_file()]
    reason = f"PYROVAE_DATA={DATA_ROOT} has no {folder}/raw/{', '.join(missing)}"
    return pytest.param(name, mean, deviation, id=name, marks=pytest.mark.skipif(bool(missing), reason=reason))


# Mean and standard deviation of the training pixels over 255, as they are published and used everywhere.
@pytest.mark.parametrize(
    ("name", "mean", "deviation"), [real("mnist", "MNIST", 0.1307, 0.3081), real("fashion-mnist", "FashionMNIST", 0.2860, 0.3530)]
)
def test_the_real_images(name: str, mean: float, deviation: float) -> None:
    dataset = load_dataset(name)
    assert sizes_of(dataset) == {"train": 50_000, "valid": 10_000, "test": 10_000}
    assert (dataset.x.shape, dataset.x.dtype) == ((70_000, 28, 28), torch.uint8)
    counts = torch.bincount(dataset.x[:60_000].flatten(), minlength=256).double()
    pixel, share = torch.arange(256) / 255, counts / counts.sum()
    found = (pixel * share).sum().item()
    # The published numbers have four digits.
    assert found == pytest.approx(mean, abs=5.1e-5)
    assert ((pixel - found) ** 2 * share).sum().sqrt().item() == pytest.approx(deviation, abs=5.1e-5)
    assert sorted(set(dataset.y.tolist())) == list(range(10))
