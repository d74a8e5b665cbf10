"""Your own pictures from a folder: their bytes, order, labels and splits, and what is said of those that cannot be used."""

from __future__ import annotations

import struct
import zlib
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


@pytest.mark.parametrize(
    "names",
    [("TRAIN", "VAL", "TEST"), ("training", "Validation", "testing"), ("Train", "dev", "test"), ("train", "valid", "Test")],
)
def test_splits_have_the_usual_names(names: tuple[str, str, str], tmp_path: Path) -> None:
    """Three pictures each, none of which may end in another split, and the split is no label."""
    pictures = {f"{name}__{kind}__{i}": grey() for name in names for kind, i in (("cat", 1), ("cat", 2), ("dog", 1))}
    dataset = load(write(tmp_path, **pictures))
    assert dataset.spec.class_names == ("cat", "dog")
    for split, name in zip(("train", "valid", "test"), names, strict=True):
        expected = [pixels for path, pixels in pictures.items() if path.startswith(f"{name}__")]
        np.testing.assert_array_equal(dataset.split(split).x, np.stack(expected))
        assert dataset.split(split).y.tolist() == [0, 0, 1]


def test_labels_below_splits_may_have_any_name(tmp_path: Path) -> None:
    """CIFAR-100 has a class of trains."""
    names = ["train__train__1", "train__plane__1", "test__train__1", "test__plane__1"]
    dataset = load(write(tmp_path, **{name: grey() for name in names}))
    assert dataset.spec.class_names == ("plane", "train")


def test_labels_may_have_words_for_splits_in_their_names(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="bullet_train is taken for a label, and trained on; take it out if it is a split"):
        dataset = load(write(tmp_path, bullet_train__1=grey(), plane__1=grey()))
    assert dataset.spec.class_names == ("bullet_train", "plane")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train__1", "plane__1"], "has plane beside train, which are called splits; .*if train is a label, give that folder"),
        (["cat__1", "Test__1", "train__1"], "has cat beside train, Test, which are called splits; put it into one of them"),
        (["train__1", "test__1", "loose"], r"has loose\.png beside train, test, which are called splits"),
        (["val__1", "validation__1", "train__1"], "has val and validation, two names for one split; keep one of them"),
        (["Train__1", "train__1"], "has Train and train, two names for one split"),
        (["test__1", "test__2"], "has test and nothing called train; add it, or name the folder itself, such as data=.*/test',"),
        (["val__1", "test__1"], "has val, test and nothing called train; .* data=.*/val',"),
        (["cat__train__1", "cat__test__1", "dog__train__1"], "has cat/test, which is called a split, below a label"),
        (["faces__train__1", "faces__test__1"], r"has faces/test, which .* name the folder that holds them: data=.*/faces'$"),
        (
            ["train_images__1", "test_images__1"],
            "has test_images, train_images, which may be splits or labels; call splits train",
        ),
        (["train2017__1", "val2017__1"], "has train2017, val2017, which may be splits or labels"),
        (["train__cat__1", "train__dog__1", "test__1"], r"has test/1\.png beside subfolders, which are labels"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_folders_whose_splits_cannot_be_told_are_refused(names: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        load(write(tmp_path, **{name: grey() for name in names}))


def test_what_a_refusal_of_a_lone_test_says_works(tmp_path: Path) -> None:
    write(tmp_path, test__cat__1=grey(), test__dog__1=grey())
    assert load(tmp_path / "test").spec.class_names == ("cat", "dog")
    write(tmp_path, train__cat__1=grey())
    assert len(load(tmp_path).test) == 2


def test_a_split_without_pictures_is_named(tmp_path: Path) -> None:
    write(tmp_path, train__1=grey(), train__2=grey())
    (tmp_path / "Test").mkdir()
    (tmp_path / "Test" / "1.heic").write_bytes(b"no format that is read")
    with pytest.warns(UserWarning, match=r"Test has no pictures \(.*\.png.*\) and is not used"):
        dataset = load(tmp_path)
    assert {name: len(rows) for name, rows in dataset.rows.items()} == {"train": 2, "valid": 0, "test": 0}


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


def test_folders_called_as_missing_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder called nan stands for a label that is missing; give it another"):
        load(write(tmp_path, nan__a=grey(), cat__a=grey()))


def test_pictures_of_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, a=grey(5, 4), b=grey(5, 4), c=grey(4, 5))
    with pytest.raises(UserError, match=r"a\.png has 4x5 pixels, .*c\.png has 5x4 pixels; data\.size=N"):
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
    with pytest.warns(UserWarning, match=r"2 pictures have transparent pixels, which became white, such as a\.png$"):
        x = load(tmp_path).x
    assert x[0].tolist() == [[[100, 100], [255, 255]], [[0, 0], [255, 255]], [[0, 0], [255, 255]]]


def test_an_opaque_alpha_channel_is_passed_over(tmp_path: Path) -> None:
    pixels = np.concatenate([colour(), np.full((5, 4, 1), 255, np.uint8)], -1)
    for name in ("a", "b"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    np.testing.assert_array_equal(load(tmp_path).x[1], pixels[..., :3].transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_picture_of_several_counts_and_that_is_said(suffix: str, tmp_path: Path) -> None:
    first, *others = (Image.fromarray(pixels) for pixels in (grey(16, 16), grey(16, 16), grey(16, 16)))
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, **options)
    first.save(tmp_path / f"b.{suffix}", **options)
    with pytest.warns(UserWarning, match=rf"1 pictures hold several pictures .* the first counts, such as a\.{suffix}$"):
        x = load(tmp_path, grey=True).x
    np.testing.assert_array_equal(x[0], np.asarray(first))


def test_inks_become_colours_and_that_is_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("CMYK", (3, 3), (255, 0, 0, 0)).save(tmp_path / f"{name}.tif")
    with pytest.warns(UserWarning, match="2 pictures are CMYK and became RGB, without regard to a colour profile"):
        x = load(tmp_path).x
    assert x[0, :, 0, 0].tolist() == [0, 255, 255]


def test_palettes_and_few_bits_keep_their_shades(tmp_path: Path) -> None:
    """Exact in bytes: v of L levels becomes 255 v / (L - 1)."""
    levels = {1: 2, 2: 4, 4: 16}
    values = {bits: RANDOM.integers(0, count, (4, 8)) for bits, count in levels.items()}
    for bits, pixels in values.items():
        write_png(tmp_path / f"{bits}.png", pixels[..., None], bits, 0)
    shades = load(tmp_path).x.numpy()
    np.testing.assert_array_equal(shades, [values[bits] * (255 // (count - 1)) for bits, count in levels.items()])
    pixels = colour(4, 8) // 128 * 255
    for name in ("a", "b"):
        Image.fromarray(pixels).quantize(8).save(tmp_path / f"{name}.png")
    np.testing.assert_array_equal(load(tmp_path).x[-1], pixels.transpose(2, 0, 1))


def write_png(path: Path, pixels: np.ndarray, bits: int, kind: int) -> None:
    """PNG as its specification says: pixels (H, W, channels) of that colour type, without filters."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    planes = (pixels[..., None] >> np.arange(bits)[::-1] & 1).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(planes.astype(np.uint8), axis=1))
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_tiff(path: Path, pixels: np.ndarray, photometric: int, coding: int = 1, extra: tuple[int, ...] = ()) -> None:
    """TIFF as its specification says: one strip of pixels (H, W, channels) in the machine's numbers."""
    height, width, channels = pixels.shape
    content, bits = pixels.tobytes(), pixels.itemsize * 8
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 273: [8], 277: [channels]}
    tags |= {278: [height], 279: [len(content)], **({338: list(extra)} if extra else {}), 339: [coding] * channels}
    entries, beyond = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", 8 + len(content) + len(beyond)), beyond + packed
        entries += struct.pack("<HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    start = struct.pack("<I", 8 + len(content) + len(beyond))
    path.write_bytes(b"II*\0" + start + content + beyond + struct.pack("<H", len(tags)) + entries + bytes(4))


def deep(channels: int) -> np.ndarray:
    return RANDOM.integers(0, 2**16, (4, 5, channels)).astype(np.uint16)


BITS_CUT = {
    "colour.png": lambda path: write_png(path, deep(3), 16, 2),
    "grey-alpha.png": lambda path: write_png(path, deep(2), 16, 4),
    "colour-alpha.png": lambda path: write_png(path, deep(4), 16, 6),
    "colour.tif": lambda path: write_tiff(path, deep(3), 2),
    "colour-alpha.tif": lambda path: write_tiff(path, deep(4), 2, extra=(2,)),
    "inks.tif": lambda path: write_tiff(path, deep(4), 5),
    "colour.ppm": lambda path: path.write_bytes(b"P6 5 4 65535\n" + deep(3).astype(">u2").tobytes()),
    "plain.ppm": lambda path: path.write_bytes(b"P3 2 1 1023\n1 2 3 4 5 1000\n"),
}
MORE_CUT = {
    "channels.tif": (lambda path: write_tiff(path, colour(4, 5)[..., [0, 1, 2, 0, 1]], 2, extra=(0, 0)), "5 channels a pixel"),
    "signs.tif": (lambda path: write_tiff(path, grey()[..., None].view(np.int8), 1, coding=2), "numbers with a sign"),
    "grey.png": (lambda path: write_png(path, deep(1), 16, 0), "pixels of mode I;16|16 bits"),
    "grey.pgm": (lambda path: path.write_bytes(b"P5 5 4 65535\n" + deep(1).astype(">u2").tobytes()), "pixels of mode I"),
    "reals.tif": (lambda path: Image.fromarray(grey().astype(np.float32)).save(path), "32 bits|pixels of mode F"),
    "lab.tif": (lambda path: Image.new("LAB", (5, 4)).save(path), "pixels of mode LAB"),
}


@pytest.mark.parametrize("name", [*BITS_CUT, *MORE_CUT])
def test_pictures_that_bytes_do_not_hold_are_refused_by_name(name: str, tmp_path: Path) -> None:
    make, said = MORE_CUT.get(name) or (BITS_CUT[name], "(10|16) bits a channel")
    for copy in ("a", "b"):
        make(tmp_path / f"{copy}-{name}")
    with pytest.raises(UserError, match=rf"a-{name}: has ({said}); save it with 8 bits a channel, or the numbers .* in a \.npy"):
        load(tmp_path)


def test_the_writers_of_this_test_write_what_pillow_reads(tmp_path: Path) -> None:
    pixels = colour()
    write_png(tmp_path / "a.png", pixels, 8, 2)
    write_tiff(tmp_path / "b.tif", pixels, 2)
    np.testing.assert_array_equal(load(tmp_path).x, np.stack([pixels.transpose(2, 0, 1)] * 2))


def test_the_numbers_of_deep_pictures_are_kept_from_an_array(tmp_path: Path) -> None:
    """What the refusal says works: uint16 as levels."""
    pixels = RANDOM.integers(0, 2**16, (4, 3, 5, 4)).astype(np.uint16)
    np.save(tmp_path / "x.npy", pixels)
    dataset = load_dataset({"name": str(tmp_path / "x.npy"), "levels": 65536})
    assert (dataset.spec.kind, dataset.spec.levels) == ("levels", 65536)
    np.testing.assert_array_equal(dataset.x.numpy(), pixels)


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
    assert outcomes <= {"UserError", "Note"}  # a TIFF may come to say that it has another page


@pytest.mark.parametrize(
    ("options", "said"),
    [({"size": 0}, "data.size=0: needs an integer"), ({"grey": 1}, "data.grey=1: needs true or false")],
    ids=["size", "grey"],
)
def test_bad_options_name_their_flag(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        load(write(tmp_path, a=grey(), b=grey()), **options)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 0 pictures \(.*\.png.*\); name a folder that has some"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"has a\.png beside subfolders, which are labels"):
        load(write(tmp_path, a=grey(), cat__a=grey()))
    with pytest.raises(UserError, match="no such folder"):
        load_dataset({"name": "images", "path": str(tmp_path / "none")})
