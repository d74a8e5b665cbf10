"""Your own .csv tables: numbers, labels, and what is said of cells and lines that cannot be used."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyrovae import Dataset, UserError, load_dataset
from pyrovae.cli.spelling import with_flags

RANDOM = np.random.default_rng(0)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset({"name": str(path), **options})


def test_a_table_is_its_numbers(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(30, 4))
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["width", "height, of all", 'a "depth"', "mass"])
        writer.writerows(x.tolist())
    dataset = load(tmp_path / "mine.csv", test=6, valid=4)
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.y) == ((4,), "reals", None)
    np.testing.assert_array_equal(dataset.x, x)
    assert {name: len(rows) for name, rows in dataset.rows.items()} == {"train": 20, "valid": 4, "test": 6}


def test_a_table_is_split_as_the_same_array_is(tmp_path: Path) -> None:
    x = RANDOM.integers(-9, 9, (40, 2))
    np.save(tmp_path / "mine.npy", x)
    table = load(write(tmp_path, "a,b\n" + "\n".join(f"{a},{b}" for a, b in x)), split_seed=5)
    array = load(tmp_path / "mine.npy", split_seed=5)
    assert torch.equal(table.x, array.x)
    assert {k: v.tolist() for k, v in table.rows.items()} == {k: v.tolist() for k, v in array.rows.items()}
    assert table.record() == array.record()


LABELLED = "species,a,island,b\nant,1.5,10,2\nbee,2,9,3\nant,0,10,4\n"


def test_one_label_is_the_class(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, "species,a,b\nbee,1.5,2\nant,2,3\nbee,0,4\n"), label="species", test=0, valid=0)
    assert dataset.x.tolist() == [[1.5, 2], [2, 3], [0, 4]]
    assert (dataset.spec.class_names, dataset.spec.attributes, dataset.y.tolist()) == (("ant", "bee"), (), [1, 0, 1])


def test_several_labels_are_attributes(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, LABELLED), label="island, species", test=0, valid=0)
    assert dataset.x.tolist() == [[1.5, 2], [2, 3], [0, 4]]
    assert dataset.spec.class_names == ()
    # Integers are in their order, 9 before 10.
    assert [(label.name, label.values) for label in dataset.spec.labels] == [("island", ("9", "10")), ("species", ("ant", "bee"))]
    assert dataset.y.tolist() == [[1, 0], [0, 1], [1, 0]]


def test_labels_are_as_they_are_written(tmp_path: Path) -> None:
    """01 and 1 are two codes; those that are numbers are in the order of the numbers."""
    path = write(tmp_path, "a,b\n1,10\n2,01\n3,9\n4,1\n5,01\n")
    with pytest.warns(UserWarning, match="b: 01 and 1 are one number and two classes"):
        dataset = load(path, label="b", test=0, valid=0)
    assert (dataset.spec.class_names, dataset.y.tolist()) == (("01", "1", "9", "10"), [3, 0, 2, 1, 0])


def test_labels_may_be_whole_numbers_with_points_and_text_with_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,c\n1,10.0,0.5 mg\n2,9.0,none\n3,10.0,2.5\n")
    dataset = load(path, label="b,c", test=0, valid=0)
    assert [label.values for label in dataset.spec.labels] == [("9.0", "10.0"), ("0.5 mg", "2.5", "none")]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(delimiter: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"a{delimiter}b\n1{delimiter}2.5\n3{delimiter}4\n")
    name = {";": "semicolon", "\t": "tab"}[delimiter]
    assert load(path, delimiter=name, test=0, valid=0).x.tolist() == [[1, 2.5], [3, 4]]


def test_a_comma_stays_the_delimiter_of_names_with_semicolons(tmp_path: Path) -> None:
    assert load(write(tmp_path, "a;b,c\n1,2\n3,4\n"), test=0, valid=0).spec.columns == ("a;b", "c")
    assert load(write(tmp_path, "a;b\n1\n3\n"), delimiter="comma", test=0, valid=0).spec.columns == ("a;b",)


def test_time_grows_as_the_number_of_columns(tmp_path: Path) -> None:
    """Every pair of names was compared: 16 times as many columns took 256 times as long."""

    def seconds(columns: int) -> float:
        names = ",".join(f"column_{i}" for i in range(columns))
        path = write(tmp_path, f"{names}\n" + f"{','.join(['1.5'] * columns)}\n" * 2)
        began = time.process_time()
        load(path, test=0, valid=0)
        return time.process_time() - began

    seconds(10)
    few, many = (min(seconds(columns) for _ in range(3)) for columns in (2_500, 40_000))
    assert many < 5 * 16 * few


def test_a_label_whose_name_has_a_comma_is_quoted(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, 'a,"b, c"\n1,x\n2,y\n'), label='"b, c"', test=0, valid=0)
    assert dataset.spec.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("text", "options", "kind", "levels"),
    [
        ("a,b\n0,1\n1,1\n", {}, "binary", 2),
        ("a,b\n0,1\n7,1\n", {}, "counts", None),
        ("a,b\n0,1\n-7,1\n", {}, "reals", None),
        ("a,b\n0,1.0\n7,1\n", {}, "reals", None),
        ("a,b\n0,1e3\n7,1\n", {}, "reals", None),
        ("a,b\n0,1\n7,1\n", {"levels": 8}, "levels", 8),
        ("a,b\n0,1\n7,1\n", {"kind": "reals"}, "reals", None),
        ("a,b\n0.0,1.0\n7.0,1\n", {"kind": "counts"}, "counts", None),
    ],
)
def test_kinds(text: str, options: dict[str, Any], kind: str, levels: int | None, tmp_path: Path) -> None:
    spec = load(write(tmp_path, text), test=0, valid=0, **options).spec
    assert (spec.kind, spec.levels) == (kind, levels)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa,b\r\n1,2\r\n3,4.5\r\n",
        "a,b\n1,2\n3,4.5",
        "a,b\n1,2\n3,4.5\n\n , \n",
        ' a , b \n 1 ,"2"\n+3,45e-1\n',
    ],
    ids=["a spreadsheet's", "no last line break", "empty lines at the end", "spaces and quotes"],
)
def test_spellings_of_a_table(text: str, tmp_path: Path) -> None:
    assert load(write(tmp_path, text), test=0, valid=0).x.tolist() == [[1, 2], [3, 4.5]]
    assert load(tmp_path / "mine.csv", test=0, valid=0, label="a").x.tolist() == [[2], [4.5]]


def test_columns_may_be_called_numbers_or_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "400,500\n1,2\n3,4\n")
    with pytest.raises(UserError, match=r"line 1 has only numbers, not the names .*data\.header='no' .* yes"):
        load(path)
    assert load(path, header="yes", test=0, valid=0).x.tolist() == [[1, 2], [3, 4]]
    assert load(path, header="no", test=0, valid=0).x.tolist() == [[400, 500], [1, 2], [3, 4]]
    assert load(path, header="no", label="2", test=0, valid=0).spec.class_names == ("2", "4", "500")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a,b\n1,2\n3,x\n", {}, "line 3, column b: x is no finite number; .*data.label"),
        ("a,b\n1,2\n3,nan\n", {}, "line 3, column b: nan is no finite number"),
        ("a,b\n1,2\n1e999,4\n", {}, "line 3, column a: 1e999 is no finite number"),
        ("a,b\n1,2\n,4\n", {}, "line 3, column a is empty"),
        ("a,b\n1,2\n3, \n", {}, "line 3, column b is empty"),
        ("a,b\n1,2\n3, \n", {"label": "b"}, "line 3, column b is empty"),
        ("a,b\n1,x\n3,nan\n", {"label": "b"}, "line 3, column b: nan stands for a label that is missing; .* remove the line"),
        ("a,b\n1,x\n3, NA \n", {"label": "b"}, "line 3, column b: NA stands for a label that is missing"),
        ("a,b\n1,2\n\n3,4\n", {}, "line 3 has 0 cells, the first 2: column a is missing"),
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 cells, the first 2: column b is missing"),
        ("a,b\n1,2\n3,4,5\n", {}, "line 3 has 3 cells, the first 2: nothing after b has a name"),
        ('a,b\n"1",2\n"3\n",4,5\n', {}, "line 4 has 3 cells"),
        ("a,b\n1,2\n3,4\n", {"label": "B"}, "data.label='B': .*mine.csv has no such column; .*a, b"),
        ("a,b\n1,2\n3,4\n", {"label": "a,c"}, "data.label='c': .* no such column"),
        ("a,b\n1,2\n3,4\n", {"label": "a,b"}, "data.label='a,b': leaves no column of data"),
        ("a,b\n1,2\n3,4\n", {"label": "a,a"}, "data.label='a,a': names a column twice"),
        ("a,b\n1,2\n3,4\n", {"label": ""}, "data.label='': needs the name of a column; All: a, b"),
        ("a,b\n1,2\n3,4\n", {"label": ["a"]}, "data.label=.*: needs the name of a column"),
        ("a,b\n1,2\n3,4\n", {"header": "maybe"}, "data.header='maybe': is none of auto, yes, no"),
        ("a,a\n1,2\n3,4\n", {}, "line 1, column 2 calls another column a too"),
        ("a,\n1,2\n3,4\n", {}, "line 1, column 2 has no name"),
        ("a,b\n1,2\n3,4.5\n", {"kind": "counts"}, r"value 4.5 at \(1, 1\): data.kind='counts'"),
        ("a,b\n1,2\n1e39,2\n", {}, "1e\\+39 .* float32 cannot hold"),
        ("a,b\n", {}, "has no line of data"),
        ("", {}, "is empty"),
        (b"a,b\n1,\xff\n", {}, "cannot be read as a table"),
        ('a,b\n1,"2\n3,4\n', {}, "cannot be read as a table"),
        ("a;b\n1,5;2\n", {}, "first line has semicolons, not commas; give data.delimiter='semicolon'"),
        ("a\tb\n1\t2\n", {}, "first line has tabs, not commas; give data.delimiter='tab'"),
        ("a;b\n1,5;2\n", {"delimiter": "semicolon"}, "line 2, column a: 1,5 is no finite number; write 1.5"),
        ("a,b\n1,2\n", {"delimiter": ";"}, "data.delimiter=';': is none of auto, comma, semicolon, tab"),
        ("a,b\n1,2\n3,4\n", {"columns": "b,c"}, "data.columns='c': .*mine.csv has no such column; All: a, b"),
        ("a,b\n1,2\n3,4\n", {"columns": "b", "label": "b"}, "data.label='b': b is a column of data"),
        ("a,b\n1,2\n1_000,4\n", {}, "line 3, column a: 1_000 is no finite number"),
        ("a,b\n1,2\n1_0.5,4\n", {}, "line 3, column a: 1_0.5 is no finite number"),
        ("a,b\n1,2\n3,\u0664\n", {}, "line 3, column b: \u0664 is no finite number"),
        ("a,b\n1,x\n3,None\n", {"label": "b"}, "line 3, column b: None stands for a label that is missing"),
        ("a,b\n1,1\n3,0.25\n", {"label": "b"}, "line 3, column b: 0.25 is a real, .*leave b out of data.label"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(text: str | bytes, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=said) as error:
        load(path, **options)
    assert str(path) in with_flags(error.value) or "--data." in with_flags(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv': no such file"):
        load(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"data: needs a path, such as FILE\.csv"):
        load_dataset({"name": "csv"})
