"""Every refusal of data: does doing what it says work?

A row is a command line that is refused (or done with a note), what is said of it, and what a user who takes it at its word does:
a change of the file, and a command line. That one must be done without an error, and without the note.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(30, 2))
WHOLE = RANDOM.integers(0, 8, size=(30, 2))
KINDS = ["odd", "even"] * 15
NUMBERED = [1, 2] * 15
TINY = "--latent-dim 1 --network linear --epochs 1 --device cpu"
NORMAL = f"--likelihood normal {TINY}"


def table(path: str, columns: dict[str, object], delimiter: str = ",", encoding: str = "utf-8") -> None:
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([columns, *zip(*columns.values(), strict=True)])


def pictures(folder: str, shape: tuple[int, ...], count: int = 6) -> None:
    Path(folder).mkdir()
    for i in range(count):
        Image.fromarray(RANDOM.integers(0, 256, shape, np.uint8)).save(f"{folder}/{i}.png")


def replaced(path: str, old: str, new: str) -> Callable[[], object]:
    return lambda: Path(path).write_text(Path(path).read_text().replace(old, new))


@pytest.fixture(scope="module")
def world(make_run, tmp_path_factory) -> Path:
    """Files and runs that the rows meet."""
    folder = tmp_path_factory.mktemp("remedies")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        a, b = X.T.tolist()
        table("plain.csv", {"a": a, "b": b})
        table("labelled.csv", {"a": a, "b": b, "kind": KINDS})
        table("renamed.csv", {"a": a, "b": b, "Kind": KINDS})
        table("other_name.csv", {"a": a, "B": b})
        table("measured.csv", {"a": a, "b": b})
        table("semicolons.csv", {"a": a, "b": b}, delimiter=";")
        table("german.csv", {"a": [str(v).replace(".", ",") for v in a], "b": b}, delimiter=";")
        table("latin.csv", {"a": a, "größe": b}, encoding="latin-1")
        table("twice.csv", {"a": a, "b": b, " a": b})
        table("missing.csv", {"a": a, "b": b, "kind": [*KINDS[:29], "None"]})
        table("hole.csv", {"a": [*a[:29], ""], "b": b})
        table("underscore.csv", {"a": [*a[:29], "1_000"], "b": b})
        table("word.csv", {"a": [*a[:29], "much"], "b": b})
        table("constant.csv", {"a": a, "c": [3.5] * 30})
        table("wide.csv", {"a": a, "b": [1e5 * v for v in b]})
        Path("headless.csv").write_text("\n".join(f"{p},{q}" for p, q in X.tolist()))
        for name, x in {"x": X, "floats": WHOLE.astype(float), "whole": WHOLE, "unit": np.clip(X, 0, 1)}.items():
            np.save(f"{name}.npy", x)
        np.save("offset.npy", X + 5e3)
        np.savez("real_labels.npz", x=X, y=X[:, 0])
        np.savez("object_labels.npz", x=X, y=np.array(KINDS, dtype=object))
        np.save("large_counts.npy", WHOLE + 10**6)
        np.savez("unlabelled.npz", x=X)
        np.savez("labelled.npz", x=X, y=np.array(KINDS))
        for name, shape in {"grey8": (8, 8), "grey9": (9, 9), "colour": (8, 8, 3), "colour9": (9, 9, 3)}.items():
            pictures(name, shape)
        shutil.copytree("grey8", "uneven")
        shutil.copy("grey9/0.png", "uneven/other.png")
        tiny = {"likelihood": "normal", "network": "linear", "latent_dim": 1, "epochs": 1, "device": "cpu", "progress": False}
        conditional = {"data": {"name": "csv", "path": "labelled.csv", "label": "kind"}, "context": "label"}
        runs = {
            "plain": {"data": "plain.csv"},
            "labelled": conditional,
            "npz": {"data": "labelled.npz", "context": "label"},
            "grey": {"data": "grey8", "likelihood": "binomial"},
            "counts": {"data": "whole.npy", "likelihood": "poisson"},
            "untested": {"data": {"name": "file", "path": "x.npy", "test": 0}},
        }
        for name, options in runs.items():
            shutil.copytree(make_run(f"remedies-{name}", **{**tiny, **options}), folder / "runs" / name)
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(world, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


def row(name: str, line: str, said: str, then: str, change: Callable[[], object] = lambda: None, **options):
    return pytest.param(line, said, then, change, id=name, **options)


AS_NOTES = pytest.mark.filterwarnings("default")
"""Warnings are printed, as they are on a command line."""


def np_labels() -> None:
    np.savez("real_labels.npz", x=X, y=np.digitize(X[:, 0], [0.0]))


def in_utf8() -> None:
    Path("latin.csv").write_text(Path("latin.csv").read_text(encoding="latin-1"), encoding="utf-8")


REFUSED = [
    row(
        "text",
        f"train --data labelled.csv {NORMAL}",
        "kind: odd is no finite number; .*--data.label",
        f"train --data labelled.csv --data.label kind {NORMAL}",
    ),
    row(
        "label",
        f"train --data labelled.csv --data.label kin {NORMAL}",
        "did you mean kind",
        f"train --data labelled.csv --data.label kind {NORMAL}",
    ),
    row(
        "label-elsewhere",
        "evaluate runs/labelled --data renamed.csv --samples 2",
        "--data.label kind: renamed.csv has no such column; did you mean Kind",
        "evaluate runs/labelled --data renamed.csv --data.label Kind --samples 2",
    ),
    row(
        "npz-labels",
        "evaluate runs/npz --data unlabelled.npz",
        "has no labels, .*give data that have them",
        "evaluate runs/npz --data labelled.npz --samples 2",
    ),
    row(
        "column",
        "encode runs/plain --data other_name.csv",
        "has no column b, .*did you mean B",
        "encode runs/plain --data other_name.csv",
        replaced("other_name.csv", "B", "b"),
    ),
    row(
        "column-option",
        f"train --data plain.csv --data.columns a,c {NORMAL}",
        "--data.columns c: .*All: a, b",
        f"train --data plain.csv --data.columns a,b {NORMAL}",
    ),
    row(
        "real-label",
        f"train --data measured.csv --data.label b {NORMAL}",
        "b: .* is a real, .*leave b out of --data.label",
        f"train --data measured.csv {NORMAL}",
    ),
    row(
        "missing-label",
        f"train --data missing.csv --data.label kind {NORMAL}",
        "line 31, column kind: None .* such as unknown",
        f"train --data missing.csv --data.label kind {NORMAL}",
        replaced("missing.csv", "None", "unknown"),
    ),
    row(
        "semicolons",
        f"train --data semicolons.csv {NORMAL}",
        "give --data.delimiter semicolon",
        f"train --data semicolons.csv --data.delimiter semicolon {NORMAL}",
    ),
    row(
        "semicolons-elsewhere",
        "evaluate runs/plain --data semicolons.csv",
        "give --data.delimiter semicolon",
        "evaluate runs/plain --data semicolons.csv --data.delimiter semicolon --samples 2",
    ),
    row(
        "decimal-comma",
        f"train --data german.csv --data.delimiter semicolon {NORMAL}",
        r"is no finite number; write -?\d+\.\d+",
        f"train --data german.csv --data.delimiter semicolon {NORMAL}",
        replaced("german.csv", ",", "."),
    ),
    row(
        "header",
        f"train --data headless.csv {NORMAL}",
        "--data.header no if it is a datum",
        f"train --data headless.csv --data.header no {NORMAL}",
    ),
    row("encoding", f"train --data latin.csv {NORMAL}", "save it in UTF-8", f"train --data latin.csv {NORMAL}", in_utf8),
    row(
        "twice",
        f"train --data twice.csv {NORMAL}",
        "column 3 calls another column a too; name every column once",
        f"train --data twice.csv {NORMAL}",
        replaced("twice.csv", " a", "c"),
    ),
    row(
        "hole",
        f"train --data hole.csv {NORMAL}",
        "line 31, column a is empty; fill it",
        f"train --data hole.csv {NORMAL}",
        replaced("hole.csv", "\n,", "\n0.5,"),
    ),
    row(
        "underscore",
        f"train --data underscore.csv {NORMAL}",
        "1_000 is no finite number; mend it",
        f"train --data underscore.csv {NORMAL}",
        replaced("underscore.csv", "1_000", "1.0"),
    ),
    row(
        "word",
        "evaluate runs/plain --data word.csv",
        "column a: much is no finite number; mend it or remove the line",
        "evaluate runs/plain --data word.csv --samples 2",
        replaced("word.csv", "much", "1.0"),
    ),
    row(
        "floats-as-counts",
        f"train --data floats.npy --likelihood poisson {TINY}",
        "give --data.kind counts, for all are whole numbers",
        f"train --data floats.npy --likelihood poisson --data.kind counts {TINY}",
    ),
    row(
        "floats-as-levels",
        f"train --data floats.npy --likelihood categorical {TINY}",
        "give --data.kind levels --data.levels 8",
        f"train --data floats.npy --likelihood categorical --data.kind levels --data.levels 8 {TINY}",
    ),
    row(
        "counts-as-levels",
        f"train --data whole.npy --likelihood logistic {TINY}",
        "give --data.kind levels --data.levels 8",
        f"train --data whole.npy --likelihood logistic --data.kind levels --data.levels 8 {TINY}",
    ),
    row(
        "reals-as-bits",
        f"train --data x.npy --likelihood bernoulli {TINY}",
        "--preprocess binarise --preprocess.threshold T",
        f"train --data x.npy --likelihood bernoulli --preprocess binarise --preprocess.threshold 0.5 {TINY}",
    ),
    row(
        "kind",
        f"train --data x.npy --data.kind counts {NORMAL}",
        "--data.kind counts allows .*; give --data.kind reals",
        f"train --data x.npy --data.kind reals {NORMAL}",
    ),
    row(
        "too-few-levels",
        f"train --data whole.npy --data.levels 5 {NORMAL}",
        "integers 0..4; give --data.kind counts, or --data.kind levels --data.levels 8,",
        f"train --data whole.npy --data.kind levels --data.levels 8 {NORMAL}",
    ),
    row(
        "too-few-levels-counts",
        f"train --data whole.npy --data.kind binary {NORMAL}",
        "integers 0..1; give --data.kind counts",
        f"train --data whole.npy --data.kind counts {NORMAL}",
    ),
    row(
        "levels-of-what",
        f"train --data whole.npy --data.kind levels {NORMAL}",
        "--data.kind levels: needs .*--data.levels L",
        f"train --data whole.npy --data.kind levels --data.levels 8 {NORMAL}",
    ),
    row(
        "kind-elsewhere",
        "evaluate runs/counts --data whole.npy --data.kind reals",
        "has reals .* and the model was trained on counts .*; leave --data.kind and --data.levels out",
        "evaluate runs/counts --data whole.npy --samples 2",
    ),
    row(
        "beta-ends",
        f"train --data unit.npy --likelihood beta {TINY}",
        "--preprocess squeeze",
        f"train --data unit.npy --likelihood beta --preprocess squeeze {TINY}",
        marks=AS_NOTES,
    ),
    row("beta-reals", f"train --data x.npy --likelihood beta {TINY}", "use --likelihood normal", f"train --data x.npy {NORMAL}"),
    row(
        "size",
        "evaluate runs/grey --data grey9",
        r"of shape \(9, 9\) each, and the model was trained on .*; give --data.size 8",
        "evaluate runs/grey --data grey9 --data.size 8 --samples 2",
    ),
    row(
        "grey",
        "encode runs/grey --data colour",
        r"of shape \(3, 8, 8\) .*; give --data.grey true",
        "encode runs/grey --data colour --data.grey true",
    ),
    row(
        "size-and-grey",
        "encode runs/grey --data colour9",
        "; give --data.size 8 --data.grey true",
        "encode runs/grey --data colour9 --data.size 8 --data.grey true",
    ),
    row(
        "uneven",
        f"train --data uneven --likelihood binomial {TINY}",
        "--data.size N makes all of them N x N",
        f"train --data uneven --likelihood binomial --data.size 8 {TINY}",
    ),
    row(
        "labels-for-context",
        f"train --data plain.csv --context label {NORMAL}",
        "--context none",
        f"train --data plain.csv --context none {NORMAL}",
    ),
    row(
        "test-takes-all",
        f"train --data x.npy --data.test 30 {NORMAL}",
        "--data.test 30: takes 30 of 30 data .*take fewer",
        f"train --data x.npy --data.test 10 {NORMAL}",
    ),
    row(
        "no-test",
        "evaluate runs/untested",
        "try --split train or --split valid or --split all",
        "evaluate runs/untested --split all --samples 2",
    ),
    row(
        "patience",
        f"train --data x.npy --data.valid 0 --patience 2 {NORMAL}",
        "give --data.valid, or --patience 0",
        f"train --data x.npy --data.valid 5 --patience 2 {NORMAL}",
    ),
    row(
        "option-alone",
        "encode runs/labelled --data.label kind",
        "--data.label: of which data. name them with --data",
        "encode runs/labelled --data labelled.csv --data.label kind",
    ),
    row(
        "real-y",
        f"train --data real_labels.npz --context label {NORMAL}",
        r"np\.digitize\(y, edges\)",
        f"train --data real_labels.npz --context label {NORMAL}",
        np_labels,
        marks=AS_NOTES,
    ),
]

NOTED = [
    row(
        "real-y-unused",
        f"train --data real_labels.npz {NORMAL}",
        r"np\.digitize\(y, edges\) .*; until then the data have no labels",
        f"train --data real_labels.npz {NORMAL}",
        np_labels,
    ),
    row(
        "object-labels",
        f"train --data object_labels.npz {NORMAL}",
        r"y\.astype\(str\) .*; until then the data have no labels",
        f"train --data object_labels.npz {NORMAL}",
        lambda: np.savez("object_labels.npz", x=X, y=np.array(KINDS, dtype=object).astype(str)),
    ),
    row(
        "large-counts",
        f"train --data large_counts.npy {NORMAL}",
        r"has values of about 1e\+06, far from 1; --data\.kind reals --preprocess standardise .*--likelihood poisson",
        f"train --data large_counts.npy --data.kind reals --preprocess standardise {NORMAL}",
    ),
    row(
        "constant",
        f"train --data constant.csv {NORMAL}",
        r"the same: column c \(3\.5\); .*--data\.columns",
        f"train --data constant.csv --data.columns a {NORMAL}",
    ),
    row(
        "scales",
        f"train --data wide.csv {NORMAL}",
        r"range from .* \(column a\) to .* \(column b\); --preprocess standardise",
        f"train --data wide.csv --preprocess standardise {NORMAL}",
    ),
    row(
        "offset",
        f"train --data offset.npy {NORMAL}",
        r"column \d has values of about 5e\+03, far from 1; --preprocess standardise",
        f"train --data offset.npy --preprocess standardise {NORMAL}",
    ),
]


@pytest.mark.parametrize(("line", "said", "then", "change"), REFUSED)
def test_doing_what_a_refusal_says_works(cli, here, line: str, said: str, then: str, change) -> None:
    answer = cli(*shlex.split(line))
    assert answer.code == 2, answer
    assert re.search(said, answer.err), answer.err
    assert answer.err.splitlines()[-1].startswith(f"pyrovae {line.split()[0]}: error: ")
    change()
    answer = cli(*shlex.split(then))
    assert answer.code == 0, answer.err


@AS_NOTES
@pytest.mark.parametrize(("line", "said", "then", "change"), NOTED)
def test_doing_what_a_note_says_ends_it(cli, here, line: str, said: str, then: str, change) -> None:
    answer = cli(*shlex.split(line))
    assert (answer.code, len(re.findall(said, answer.err))) == (0, 1), answer.err
    change()
    answer = cli(*shlex.split(then))
    assert answer.code == 0
    assert "note" not in answer.err
