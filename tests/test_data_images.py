"""Published image data sets, read from small ones in their true formats, and from the real files where there are any."""

from __future__ import annotations

import gzip
import os
import pickle
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from formats import CELEBA_NAMES, CIFAR_NAMES, amat, idx, md5, write_celeba, write_cifar10, write_omniglot
from PIL import Image

from pyrovae import Dataset, UserError, load_dataset
from pyrovae.cli.spelling import with_flags

DATA_ROOT = Path(os.environ.get("PYROVAE_DATA") or "nowhere")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise URLError("the network is unreachable")

    for name in ("urlopen", "urlretrieve"):
        monkeypatch.setattr(f"urllib.request.{name}", refuse)
    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", refuse)


pytestmark = pytest.mark.usefixtures("no_network")


def load(name: str, root: Path, **options: Any) -> Dataset:
    return load_dataset({"name": name, **options}, data_root=str(root))


def sizes_of(dataset: Dataset) -> dict[str, int]:
    return {name: len(rows) for name, rows in dataset.rows.items()}


FILES = [
    ("kmnist", "KMNIST/raw", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]),
    ("emnist", "EMNIST/raw", ["emnist-balanced-train-images-idx3-ubyte", "emnist-balanced-test-labels-idx1-ubyte"]),
    ("binarized-mnist", "binarized_mnist", ["binarized_mnist_train.amat", "binarized_mnist_test.amat"]),
    ("omniglot", "omniglot-py", ["images_background.zip"]),
    ("olivetti", "olivetti", ["olivetti.npz"]),
    ("cifar10", "", ["cifar-10-python.tar.gz"]),
    ("celeba", "celeba", ["img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt"]),
]


@pytest.mark.parametrize(("name", "folder", "files"), FILES, ids=[name for name, *_ in FILES])
def test_without_a_network_the_files_and_their_folder_are_named(name: str, folder: str, files: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(name, tmp_path)
    said = with_flags(error.value)
    for text in (f"--data {name}: could not be downloaded", str(tmp_path / folder), "--data-root", "PYROVAE_DATA", *files):
        assert text in said
    # CelebA comes from Google Drive, which needs a package of its own.
    assert "unreachable" in said or "gdown" in said


# --- EMNIST -----------------------------------------------------------------------------------------------------------


def emnist_files(part: str, images: np.ndarray, labels: np.ndarray, test: int) -> dict[str, bytes]:
    """Four idx files with every image transposed, the first ``test`` images being the test set."""
    files = {}
    for split, rows in (("train", slice(test, None)), ("test", slice(0, test))):
        files[f"emnist-{part}-{split}-images-idx3-ubyte"] = idx(np.ascontiguousarray(images[rows].transpose(0, 2, 1)))
        files[f"emnist-{part}-{split}-labels-idx1-ubyte"] = idx(labels[rows])
    return files


def test_emnist_is_upright_and_its_letters_begin_at_a(tmp_path: Path, random: np.random.Generator) -> None:
    images = random.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    labels = random.permutation(np.concatenate([np.arange(26), np.arange(4)])).astype(np.uint8) + 1
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in emnist_files("letters", images, labels, 10).items():
        (raw / name).write_bytes(content)
    dataset = load("emnist", tmp_path, part="letters", valid=5)
    assert sizes_of(dataset) == {"train": 15, "valid": 5, "test": 10}
    np.testing.assert_array_equal(dataset.test.x, images[:10])
    assert [dataset.spec.class_names[code] for code in dataset.test.y] == [chr(ord("a") + i - 1) for i in labels[:10]]


@pytest.mark.parametrize(
    ("part", "last", "count"), [("byclass", "z", 62), ("bymerge", "t", 47), ("balanced", "t", 47), ("digits", "9", 10)]
)
def test_emnist_is_unpacked_from_its_archive(
    part: str, last: str, count: int, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = random.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.array([0, 1, 2, 3, 4, count - 1], np.uint8)
    with zipfile.ZipFile(raw / "gzip.zip", "w") as archive:
        for name, content in emnist_files(part, images, labels, 2).items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    monkeypatch.setattr(torchvision.datasets.EMNIST, "md5", md5(raw / "gzip.zip"))
    dataset = load("emnist", tmp_path, part=part, valid=1)
    np.testing.assert_array_equal(dataset.x, images[[2, 3, 4, 5, 0, 1]])
    # The published mapping: digits, then capitals, then the small letters that do not look like theirs (all, byclass).
    assert (len(dataset.spec.class_names), dataset.spec.class_names[-1]) == (count, last)
    assert [dataset.spec.class_names[code] for code in dataset.y[-2:]] == ["0", "1"]


def test_emnist_does_not_unpack_an_archive_with_another_checksum(tmp_path: Path) -> None:
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    with zipfile.ZipFile(raw / "gzip.zip", "w") as archive:
        for name, content in emnist_files("balanced", np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8), 2).items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    with pytest.raises(UserError, match="could not be downloaded"):
        load("emnist", tmp_path)
    assert [path.name for path in raw.iterdir()] == ["gzip.zip"]


def test_emnist_parts_are_named() -> None:
    with pytest.raises(UserError, match=r"data.part='letter': is none of byclass, .*letters"):
        load_dataset({"name": "emnist", "part": "letter"})


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------


Batches = dict[str, tuple[np.ndarray, list[int]]]


@pytest.fixture
def cifar(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Two training batches and a test batch under ``tmp_path``, their checksums known."""
    names = ("data_batch_1", "data_batch_2", "test_batch")
    batches = {
        name: (random.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8), random.integers(0, 10, 6).tolist()) for name in names
    }
    known = write_cifar10(tmp_path, batches)
    for attribute, value in zip(("train_list", "test_list", "meta"), known, strict=True):
        monkeypatch.setattr(torchvision.datasets.CIFAR10, attribute, value)
    return batches


def test_cifar10_batches_are_colour_planes(cifar: Batches, tmp_path: Path) -> None:
    dataset = load("cifar10", tmp_path, valid=3)
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((3, 32, 32), "levels", 256)
    assert dataset.spec.class_names == CIFAR_NAMES
    assert sizes_of(dataset) == {"train": 9, "valid": 3, "test": 6}
    np.testing.assert_array_equal(dataset.x, np.concatenate([images for images, _ in cifar.values()]))
    assert dataset.y.tolist() == [label for _, labels in cifar.values() for label in labels]
    np.testing.assert_array_equal(dataset.test.x, cifar["test_batch"][0])


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
@pytest.mark.usefixtures("cifar")
def test_cifar10_pickles_with_another_checksum_are_never_opened(name: str, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(UserError, match="data='cifar10': could not be downloaded") as error:
        load("cifar10", tmp_path)
    assert str(tmp_path) in str(error.value)
    assert not sprung.exists()


# --- Omniglot ---------------------------------------------------------------------------------------------------------


def area_mean(ink: np.ndarray, pixels: int) -> np.ndarray:
    """Ink's share of the area of every pixel of a coarser grid, exactly."""
    edges, fine = np.linspace(0, len(ink), pixels + 1), np.arange(len(ink))
    overlap = np.minimum(edges[1:, None], fine + 1) - np.maximum(edges[:-1, None], fine)
    share = np.clip(overlap, 0, None) * pixels / len(ink)
    return share @ ink @ share.T


def strokes(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Characters of a few thick bars, (*shape, 105, 105) booleans."""
    ink = np.zeros((*shape, 105, 105), bool)
    for i in np.ndindex(*shape):
        top, left = random.integers(5, 80, 2)
        ink[i][top : top + 4, 10:90] = True
        ink[i][10:95, left : left + 3] = True
    return ink


def test_omniglot_is_ink_by_area(tmp_path: Path, random: np.random.Generator) -> None:
    background = {"Latin": strokes(random, 3, 2), "Greek": strokes(random, 2, 4)}
    evaluation = {"Tengwar": strokes(random, 2, 2)}
    write_omniglot(tmp_path, {"images_background": background, "images_evaluation": evaluation})
    dataset = load("omniglot", tmp_path, valid=0)
    assert sizes_of(dataset) == {"train": 14, "valid": 0, "test": 4}
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((28, 28), "levels", 256)
    assert [dataset.spec.class_names[code] for code in dataset.y] == ["Greek"] * 8 + ["Latin"] * 6 + ["Tengwar"] * 4
    given = np.concatenate(
        [part.reshape(-1, 105, 105) for part in (background["Greek"], background["Latin"], evaluation["Tengwar"])]
    )
    expected = np.stack([area_mean(ink, 28) for ink in given]) * 255
    assert np.abs(dataset.x.numpy() - expected).max() <= 0.51


def test_omniglot_is_unpacked_from_archives_with_the_right_checksum(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"images_background": {"Latin": strokes(random, 2, 2)}, "images_evaluation": {"Greek": strokes(random, 1, 2)}}
    write_omniglot(tmp_path / "plain", parts)
    folder, source = tmp_path / "root" / "omniglot-py", tmp_path / "plain" / "omniglot-py"
    folder.mkdir(parents=True)
    for name in parts:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path in sorted((source / name).rglob("*.png")):
                archive.write(path, path.relative_to(source))
    with pytest.raises(UserError, match="could not be downloaded"):
        load("omniglot", tmp_path / "root")
    monkeypatch.setattr(torchvision.datasets.Omniglot, "zips_md5", {name: md5(folder / f"{name}.zip") for name in parts})
    assert torch.equal(load("omniglot", tmp_path / "root").x, load("omniglot", tmp_path / "plain").x)
    assert {path.name for path in folder.iterdir()} == {*parts, *(f"{name}.zip" for name in parts)}


# --- CelebA -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def celeba(tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Eleven smooth pictures and their attributes under ``tmp_path``, their checksums known; 6 train, 2 valid, 3 test."""
    row, column = np.arange(218)[:, None] / 217, np.arange(178)[None, :] / 177
    slopes = random.uniform(20, 100, (11, 3, 2))
    images = np.stack([np.stack([a * row + b * column + 30 for a, b in slope], -1) for slope in slopes]).astype(np.uint8)
    attributes = random.integers(0, 2, (11, len(CELEBA_NAMES)))
    known = write_celeba(tmp_path, images, attributes, [0, 0, 2, 0, 1, 0, 2, 0, 1, 0, 2])
    monkeypatch.setattr(torchvision.datasets.CelebA, "file_list", known)
    return images, attributes


ORDER = {"train": [0, 1, 3, 5, 7, 9], "valid": [4, 8], "test": [2, 6, 10]}


def test_celeba_has_its_partition_and_its_attributes(celeba: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    images, attributes = celeba
    dataset = load("celeba", tmp_path)
    assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((3, 64, 64), "levels", 256)
    assert (dataset.spec.class_names, [label.name for label in dataset.spec.labels]) == ((), list(CELEBA_NAMES))
    assert {label.values for label in dataset.spec.labels} == {("no", "yes")}
    # The middle 148x148 pixels; a linear picture keeps its values at the centres of the larger pixels.
    centres = (np.arange(64) + 0.5) * 148 / 64 - 0.5
    rows, columns = (218 - 148) // 2 + centres, (178 - 148) // 2 + centres
    for name, order in ORDER.items():
        split = dataset.split(name)
        np.testing.assert_array_equal(split.y, attributes[order])
        for x, image in zip(split.x.numpy().astype(float), images[order].astype(float), strict=True):
            at = image[np.ix_(rows.round().astype(int), columns.round().astype(int))].transpose(2, 0, 1)
            # One pixel of slope, and what JPEG does to a smooth picture.
            assert np.abs(x - at)[:, 1:-1, 1:-1].max() < 6


@pytest.mark.usefixtures("celeba")
def test_celeba_may_be_limited(tmp_path: Path) -> None:
    everything, some = load("celeba", tmp_path), load("celeba", tmp_path, limit=3)
    assert sizes_of(some) == {"train": 3, "valid": 2, "test": 3}
    assert torch.equal(some.x, load("celeba", tmp_path, limit=3).x)
    whole = {x.numpy().tobytes(): y.tolist() for x, y in zip(everything.train.x, everything.train.y, strict=True)}
    assert [whole[x.numpy().tobytes()] for x in some.train.x] == some.train.y.tolist()
    with pytest.raises(UserError, match=r"data\.limit=1: needs an integer of at least 2"):
        load("celeba", tmp_path, limit=1)


@pytest.mark.usefixtures("celeba")
def test_celeba_is_unpacked_from_an_archive_with_the_right_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, folder = load("celeba", tmp_path), tmp_path / "celeba"
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for path in sorted((folder / "img_align_celeba").iterdir()):
            archive.write(path, path.relative_to(folder))
    shutil.rmtree(folder / "img_align_celeba")
    with pytest.raises(UserError, match="data='celeba': could not be downloaded"):
        load("celeba", tmp_path)
    (identity, _, name), *lists = torchvision.datasets.CelebA.file_list
    monkeypatch.setattr(torchvision.datasets.CelebA, "file_list", [(identity, md5(folder / name), name), *lists])
    assert torch.equal(load("celeba", tmp_path).x, expected.x)


@pytest.mark.usefixtures("celeba")
def test_celeba_names_pictures_that_are_missing_or_wrong(tmp_path: Path) -> None:
    path = tmp_path / "celeba" / "img_align_celeba" / "000005.jpg"
    Image.new("RGB", (64, 64)).save(path)
    with pytest.raises(UserError, match=r"000005.jpg has 64x64 pixels, not 178x218"):
        load("celeba", tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"000005.jpg is missing"):
        load("celeba", tmp_path)


# --- binarised MNIST --------------------------------------------------------------------------------------------------


def test_binarized_mnist_is_the_same_from_text_and_packed(tmp_path: Path, random: np.random.Generator) -> None:
    given = {name: random.integers(0, 2, (n, 784), dtype=np.uint8) for name, n in (("train", 7), ("valid", 3), ("test", 4))}
    for root in ("text", "packed"):
        (tmp_path / root / "binarized_mnist").mkdir(parents=True)
    for name, images in given.items():
        (tmp_path / "text" / "binarized_mnist" / f"binarized_mnist_{name}.amat").write_text(amat(images))
    packed = {name: np.packbits(images, axis=1) for name, images in given.items()}
    np.savez(tmp_path / "packed" / "binarized_mnist" / "binarized_mnist_packed.npz", **packed)
    for root in ("text", "packed"):
        dataset = load("binarized-mnist", tmp_path / root)
        assert (dataset.spec.event_shape, dataset.spec.kind, dataset.spec.levels) == ((28, 28), "binary", 2)
        assert (dataset.x.dtype, dataset.y, dataset.spec.labels) == (torch.uint8, None, ())
        for name, images in given.items():
            np.testing.assert_array_equal(dataset.split(name).x, images.reshape(-1, 28, 28))


@pytest.mark.parametrize("bad", ["2" + " 0" * 783, "0" + " 1" * 782, "0" + " 1" * 784, "0" + "01" * 783, ""], ids=len)
def test_damaged_text_is_refused_by_line(bad: str, tmp_path: Path) -> None:
    folder = tmp_path / "binarized_mnist"
    folder.mkdir()
    line = "1" + " 0" * 783
    for name in ("train", "valid", "test"):
        (folder / f"binarized_mnist_{name}.amat").write_text("\n".join([line, bad if name == "valid" else line, line]))
    with pytest.raises(UserError, match=r"binarized_mnist_valid.amat is damaged \(line 2 "):
        load("binarized-mnist", tmp_path)


@pytest.mark.parametrize(
    "arrays", [{"train": np.zeros((3, 98), np.uint8)}, dict.fromkeys(("train", "valid", "test"), np.zeros((3, 98)))]
)
def test_other_packed_arrays_are_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "binarized_mnist").mkdir()
    np.savez(tmp_path / "binarized_mnist" / "binarized_mnist_packed.npz", **arrays)
    with pytest.raises(UserError, match=r"binarized_mnist_packed.npz needs train, valid and test"):
        load("binarized-mnist", tmp_path)


BINARIZED = DATA_ROOT / "binarized_mnist"
HAS_BINARIZED = (BINARIZED / "binarized_mnist_packed.npz").is_file() or (BINARIZED / "binarized_mnist_test.amat").is_file()


@pytest.mark.skipif(not HAS_BINARIZED, reason=f"PYROVAE_DATA={DATA_ROOT} has no binarized_mnist")
def test_the_real_binarized_mnist() -> None:
    dataset = load_dataset("binarized-mnist")
    assert sizes_of(dataset) == {"train": 50_000, "valid": 10_000, "test": 10_000}
    assert (dataset.x.max().item(), dataset.x.dtype) == (1, torch.uint8)


@pytest.mark.skipif(not HAS_BINARIZED, reason=f"PYROVAE_DATA={DATA_ROOT} has no binarized_mnist")
@pytest.mark.skipif(not (DATA_ROOT / "MNIST" / "raw").is_dir(), reason=f"PYROVAE_DATA={DATA_ROOT} has no MNIST/raw")
def test_the_real_binarized_mnist_is_drawn_from_mnist() -> None:
    # Each pixel of the test images was drawn once with its intensity as probability: the share of ones at a place has the
    # mean intensity there as its mean.
    drawn, grey = load_dataset("binarized-mnist").test.x.double(), load_dataset("mnist").test.x.double() / 255
    error = (grey * (1 - grey)).sum(0).sqrt() / len(grey)
    difference = (drawn.mean(0) - grey.mean(0)).abs()
    assert difference[error == 0].max() == 0
    # One normal number in 5e8 is beyond 6 standard errors; rare pixels are counts, which 3 draws more cover.
    assert (difference <= 6 * error + 3 / len(grey)).all()


# --- Olivetti ---------------------------------------------------------------------------------------------------------


def write_olivetti(root: Path, random: np.random.Generator, **answers: np.ndarray) -> np.ndarray:
    images = random.integers(0, 243, (60, 64, 64), dtype=np.uint8)
    (root / "olivetti").mkdir()
    np.savez(root / "olivetti" / "olivetti.npz", images=images, subject=np.arange(60, dtype=np.int16) // 10, **answers)
    return images


@pytest.mark.parametrize("held_out", [0, 1, 5])
def test_olivetti_people_of_the_test_set_are_strangers(held_out: int, tmp_path: Path, random: np.random.Generator) -> None:
    images = write_olivetti(tmp_path, random)
    dataset = load("olivetti", tmp_path, held_out=held_out, valid=2)
    people = {name: set((rows // 10).tolist()) for name, rows in dataset.rows.items()}
    assert len(people["test"]) == held_out
    assert people["test"].isdisjoint(people["train"] | people["valid"])
    assert sizes_of(dataset) == {"train": 58 - 10 * held_out, "valid": 2, "test": 10 * held_out}
    np.testing.assert_array_equal(dataset.x, images)
    assert dataset.spec.class_names == ("0", "1", "2", "3", "4", "5")
    assert torch.equal(dataset.y, torch.arange(60) // 10)
    with pytest.raises(UserError, match=r"data\.held_out=6: there are 6 people"):
        load("olivetti", tmp_path, held_out=6)


def test_olivetti_answers_are_attributes(tmp_path: Path, random: np.random.Generator) -> None:
    glasses, smile = random.integers(0, 2, 60), random.integers(-1, 2, 60)
    write_olivetti(tmp_path, random, glasses=glasses, smile=smile)
    dataset = load("olivetti", tmp_path, held_out=2)
    subject, *answers = dataset.spec.labels
    assert (subject.name, len(subject.values)) == ("subject", 6)
    said = {"no": 0, "yes": 1, "unknown": -1}
    for label, codes, given in zip(answers, dataset.y.T[1:].tolist(), (glasses, smile), strict=True):
        assert [said[label.values[code]] for code in codes] == given.tolist()
    assert [label.values for label in answers] == [("no", "yes"), ("no", "yes", "unknown")]


def test_olivetti_photographs_with_an_unknown_answer_are_dropped(tmp_path: Path, random: np.random.Generator) -> None:
    glasses, smile = random.integers(0, 2, 60), random.integers(0, 2, 60)
    glasses[4], smile[[4, 33]] = -1, -1
    images = write_olivetti(tmp_path, random, glasses=glasses, smile=smile)
    dataset = load("olivetti", tmp_path, held_out=2, unknown="drop")
    kept = np.delete(np.arange(60), [4, 33])
    np.testing.assert_array_equal(dataset.x, images[kept])
    assert dataset.y.tolist() == np.stack([kept // 10, glasses[kept], smile[kept]], 1).tolist()
    assert [label.values for label in dataset.spec.labels[1:]] == [("no", "yes"), ("no", "yes")]
    with pytest.raises(UserError, match=r"data\.unknown='maybe': is none of keep, drop"):
        load("olivetti", tmp_path, unknown="maybe")


def test_a_condition_that_is_unknown_of_a_face_has_a_way_out(tmp_path: Path, random: np.random.Generator, cli) -> None:
    smile = random.integers(0, 2, 60)
    smile[int(load_olivetti_test_rows(tmp_path, random)[0])] = -1
    np.savez(tmp_path / "olivetti/olivetti.npz", **{**np.load(tmp_path / "olivetti/olivetti.npz"), "smile": smile})
    line = shlex.split(f"train --data olivetti --data-root {tmp_path} --data.held-out 2 --likelihood normal --network linear")
    line += shlex.split(
        f"--latent-dim 2 --epochs 1 --device cpu --context label --context.attributes smile --out {tmp_path / 'run'}"
    )
    refused = cli(*line)
    assert refused.code == 2
    assert "smile unknown has no training data" in refused.err
    assert "1 here (of olivetti, --data.unknown drop does)" in refused.err
    assert cli(*line, "--data.unknown", "drop").code == 0


def load_olivetti_test_rows(root: Path, random: np.random.Generator) -> list[int]:
    write_olivetti(root, random)
    return load("olivetti", root, held_out=2).rows["test"].tolist()


def test_olivetti_split_follows_its_seed(tmp_path: Path, random: np.random.Generator) -> None:
    write_olivetti(tmp_path, random)
    once, again, other = (load("olivetti", tmp_path, held_out=2, split_seed=seed).rows["test"].tolist() for seed in (0, 0, 1))
    assert once == again != other


def test_other_olivetti_files_are_refused(tmp_path: Path, random: np.random.Generator) -> None:
    write_olivetti(tmp_path, random, smile=np.full(60, 2))
    with pytest.raises(UserError, match=r"olivetti.npz needs images .* subject"):
        load("olivetti", tmp_path)


def test_olivetti_of_scikit_learn_is_kept_as_bytes(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.io import savemat

    faces = random.integers(0, 243, (400, 64, 64), dtype=np.uint8)
    faces[0, 0, :2] = 0, 242

    def fetch(remote: Any, dirname: str, **options: Any) -> str:
        # The file behind it: (4096, 400), every face column by column.
        path = Path(dirname) / "olivettifaces.mat"
        savemat(path, {"faces": faces.transpose(0, 2, 1).reshape(400, 4096).T})
        return str(path)

    monkeypatch.setattr("sklearn.datasets._olivetti_faces._fetch_remote", fetch)
    dataset = load("olivetti", tmp_path)
    np.testing.assert_array_equal(dataset.x, faces)
    assert sizes_of(dataset) == {"train": 267, "valid": 53, "test": 80}
    assert torch.equal(dataset.y, torch.arange(400) // 10)
    assert [path.name for path in (tmp_path / "olivetti").iterdir()] == ["olivetti.npz"]


@pytest.mark.skipif(
    not (DATA_ROOT / "olivetti/olivetti.npz").is_file(), reason=f"PYROVAE_DATA={DATA_ROOT} has no olivetti/olivetti.npz"
)
def test_the_real_olivetti_faces() -> None:
    dataset = load_dataset("olivetti")
    assert sizes_of(dataset) == {"train": 267, "valid": 53, "test": 80}
    # The first pixels of scikit-learn's documentation, 0.30991736, 0.3677686, 0.41735536, times 242.
    assert dataset.x[0, 0, :3].tolist() == [75, 89, 101]
    answered = load_dataset({"name": "olivetti", "unknown": "drop"})
    assert sum(sizes_of(answered).values()) == 399
    assert [label.values for label in answered.spec.labels[1:]] == [("no", "yes"), ("no", "yes")]
