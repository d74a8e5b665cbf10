"""Your own pictures from a folder: their bytes, order, labels and splits, and what is said of those that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pyrovae import Dataset, UserError, load_dataset

RANDOM = np.random.default_rng(0)


def grey(height: int = 5, width: int = 4) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width), dtype=np.uint8)


def colour(height: int = 5, width: int = 4) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder: Path, **pictures: np.ndarray) -> Path:
    """Pictures in a lossless format; ``a__b`` becomes a/b.png."""
    for name, pixels in pictures.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def load(folder: Path, **options: Any) -> Dataset:
    return load_dataset({"name": str(folder), "test": 0, "valid": 0, **options})


def test_grey_pictures_are_bytes_in_the_order_of_their_names(tmp_path: Path) -> None:
    pictures = {name: grey() for name in ("c", "a", "B", "a10", "a2")}
    dataset = load(write(tmp_path, **pictures))
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((5, 4), "levels", 256)
    np.testing.assert_array_equal(dataset.x, np.stack([pictures[name] for name in ("B", "a", "a10", "a2", "c")]))
    assert (dataset.y, dataset.spec.labels) == (None, ())


def test_colour_pictures_are_planes_and_grey_ones_among_them_become_colour(tmp_path: Path) -> None:
    first, second = colour(), grey()
    dataset = load(write(tmp_path, a=first, b=second))
    assert dataset.spec.event_shape == (3, 5, 4)
    np.testing.assert_array_equal(dataset.x[0], first.transpose(2, 0, 1))
    np.testing.assert_array_equal(dataset.x[1], np.stack([second] * 3))


def test_colour_pictures_become_grey_where_that_is_asked_for(tmp_path: Path) -> None:
    first, second = colour(), grey()
    dataset = load(write(tmp_path, a=first, b=second), grey=True)
    # Luma of ITU-R BT.601.
    assert np.abs(dataset.x[0].numpy() - first @ [0.299, 0.587, 0.114]).max() <= 0.51
    np.testing.assert_array_equal(dataset.x[1], second)


def test_subfolders_are_labels(tmp_path: Path) -> None:
    pictures = {name: grey() for name in ("dog__x", "cat__z", "dog__deep__y", "cat__a")}
    write(tmp_path, **pictures)
    (tmp_path / "empty").mkdir()
    dataset = load(tmp_path)
    assert dataset.spec.class_names == ("cat", "dog")
    assert dataset.y.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(dataset.x, np.stack([pictures[n] for n in ("cat__a", "cat__z", "dog__deep__y", "dog__x")]))


def test_folders_of_splits_are_splits(tmp_path: Path) -> None:
    names = ["train__dog__1", "train__dog__2", "train__cat__1", "test__dog__1", "test__cat__1"]
    pictures = {name: grey() for name in names}
    dataset = load(write(tmp_path, **pictures))
    assert dataset.spec.class_names == ("cat", "dog")
    assert (dataset.train.y.tolist(), dataset.test.y.tolist()) == ([0, 1, 1], [0, 1])
    np.testing.assert_array_equal(dataset.test.x[0], pictures["test__cat__1"])
    write(tmp_path, valid__cat__1=grey(), valid__dog__1=grey())
    assert [len(load(tmp_path).split(name)) for name in ("train", "valid", "test")] == [3, 2, 2]


def test_a_label_may_be_called_train(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, train__1=grey(), plane__1=grey()))
    assert dataset.spec.class_names == ("plane", "train")


def test_other_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, a=grey(), b=grey(), **{".thumbnails__c": grey()})
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a.png").write_bytes(b"what macOS leaves behind")
    assert len(load(tmp_path).x) == 2


def test_splits_are_drawn_from_a_folder_in_one_part(tmp_path: Path) -> None:
    write(tmp_path, **{f"p{i}": grey() for i in range(10)})
    once, again, other = (load(tmp_path, test=3, valid=2, split_seed=seed).rows for seed in (0, 0, 1))
    assert {name: len(rows) for name, rows in once.items()} == {"train": 5, "valid": 2, "test": 3}
    assert [rows.tolist() for rows in once.values()] == [rows.tolist() for rows in again.values()]
    assert once["test"].tolist() != other["test"].tolist()


def test_pictures_of_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, a=grey(5, 4), b=grey(5, 4), c=grey(4, 5))
    with pytest.raises(UserError, match=r"a\.png has 4x5 pixels, .*c\.png has 5x4 pixels; --data\.size N"):
        load(tmp_path)


def test_size_is_the_middle_square_averaged(tmp_path: Path) -> None:
    # Stripes of one pixel would become anything but grey without antialiasing.
    stripes = np.zeros((64, 96), np.uint8)
    stripes[:, ::2] = 255
    # Left and right of the middle square everything is black.
    bright = np.zeros((40, 80), np.uint8)
    bright[:, 20:60] = 200
    x = load(write(tmp_path, a=stripes, b=bright), size=8).x.numpy().astype(float)
    assert x.shape == (2, 8, 8)
    assert np.abs(x[0][:, 1:-1] - 127.5).max() < 3
    np.testing.assert_array_equal(x[1], np.full((8, 8), 200))


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 0] = 100
    pixels[0, :, 3] = 255
    for name in ("a", "b"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    assert load(tmp_path).x[0].tolist() == [[[100, 100], [255, 255]], [[0, 0], [255, 255]], [[0, 0], [255, 255]]]


def test_photographs_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    pixels = grey(4, 6)
    facts = Image.Exif()
    # EXIF: the picture is to be turned by 90 degrees clockwise.
    facts[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=facts)
    write(tmp_path, b=grey(6, 4))
    np.testing.assert_array_equal(load(tmp_path).x[0], np.rot90(pixels, -1))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_no_damage_makes_anything_but_a_refusal_by_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"b.{suffix}"
    for name in ("a", "b"):
        Image.fromarray(colour(16, 16)).save(tmp_path / f"{name}.{suffix}")
    content = path.read_bytes()
    for length in (0, 1, 10, len(content) // 4, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=rf"b\.{suffix}: (cannot be read|is damaged)"):
            load(tmp_path)
    outcomes = set()
    for position in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            load(tmp_path)
        except Exception as error:
            outcomes.add(type(error).__name__)
    assert outcomes <= {"UserError"}


@pytest.mark.parametrize(
    ("options", "said"),
    [({"size": 0}, "--data.size 0: needs an integer"), ({"grey": 1}, "--data.grey 1: needs true or false")],
    ids=["size", "grey"],
)
def test_bad_options_name_their_flag(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        load(write(tmp_path, a=grey(), b=grey()), **options)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 0 pictures \(.*\.png.*\); needs at least 2"):
        load(tmp_path)
    with pytest.raises(UserError, match="has 1 pictures"):
        load(write(tmp_path, a=grey()))
    with pytest.raises(UserError, match=r"has a\.png beside subfolders, which are labels"):
        load(write(tmp_path, cat__a=grey()))
    with pytest.raises(UserError, match="no such folder"):
        load_dataset({"name": "images", "path": str(tmp_path / "none")})
    deep = tmp_path / "deep"
    write(deep, a=grey(), b=grey().astype(np.uint16) * 256)
    with pytest.raises(UserError, match=r"b\.png: has pixels of mode I;16; save it with 8 bits"):
        load(deep)
