"""Small data sets in the file formats of the published ones, written from the descriptions of those formats."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def idx(array: np.ndarray, code: int = 8) -> bytes:
    """The idx format (LeCun): two zeros, the type, the number of dimensions, big-endian sizes, the bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def md5(path: Path) -> str:
    """Its checksum."""
    return hashlib.md5(path.read_bytes()).hexdigest()


class _OldBytes:
    """The type of bytes as NumPy wrote it in 2009: the arguments are integers where they are booleans today."""

    def __reduce__(self) -> tuple[Any, tuple[str, int, int]]:
        return np.dtype, ("u1", 0, 1)


def _old_array(array: np.ndarray) -> tuple[Any, ...]:
    reconstruct = np.zeros(0).__reduce__()[0]
    return reconstruct, (np.ndarray, (0,), b"b"), (1, array.shape, _OldBytes(), False, array.tobytes())


def old_pickle(value: Any) -> bytes:
    """A pickle of protocol 2, the last of Python 2, with arrays as NumPy wrote them then."""
    made = io.BytesIO()
    pickler = pickle.Pickler(made, protocol=2)
    pickler.dispatch_table = {np.ndarray: _old_array}
    pickler.dump(value)
    return made.getvalue()


def write_cifar10(root: Path, batches: Mapping[str, tuple[np.ndarray, Sequence[int]]]) -> tuple[list, list, dict]:
    """CIFAR-10's python version: a dictionary a batch, data (n, 3072) red, then green, then blue, row by row.

    Args:
        root: Where the folder ``cifar-10-batches-py`` belongs.
        batches: Name -> images (n, 3, 32, 32) and labels; ``test_batch`` is the test set.

    Returns:
        What torchvision knows of the files: names and checksums of the training, of the test batches, and of the names.
    """
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    known = []
    for name, (images, labels) in batches.items():
        entry = {"batch_label": name, "labels": list(labels), "data": images.reshape(len(images), -1)}
        (folder / name).write_bytes(old_pickle(entry | {"filenames": [f"{i}.png" for i in range(len(images))]}))
        known.append([name, md5(folder / name)])
    (folder / "batches.meta").write_bytes(old_pickle({"num_cases_per_batch": 10000, "label_names": list(CIFAR_NAMES)}))
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    return [k for k in known if k[0] != "test_batch"], [k for k in known if k[0] == "test_batch"], meta


CELEBA_NAMES = ("5_o_Clock_Shadow", "Eyeglasses", "Smiling")


def write_celeba(root: Path, images: np.ndarray, attributes: np.ndarray, partition: Sequence[int]) -> list[tuple[str, str, str]]:
    """CelebA's folder of aligned images, numbered from 1, and its lists.

    Args:
        root: Where the folder ``celeba`` belongs.
        images: (N, 218, 178, 3) bytes.
        attributes: (N, 3) of 0 and 1.
        partition: (N,) of 0 train, 1 valid, 2 test.

    Returns:
        What torchvision knows of the files: identities, checksums and names.
    """
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i + 1:06d}.jpg" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / "img_align_celeba" / name, quality=95)

    def listed(rows: Sequence[str], header: str | None = None) -> str:
        lines = [f"{name} {row}" for name, row in zip(names, rows, strict=True)]
        return "\n".join(([str(len(names)), header] if header else []) + lines) + "\n"

    # As in the published list: a space after the last name, and two before a 1, which stands for yes as -1 does for no.
    signs = ["".join(" 1" if value else "-1" for value in row).replace("1", "1 ").strip() for row in attributes]
    files = {
        "list_attr_celeba.txt": listed(signs, " ".join(CELEBA_NAMES) + " "),
        "identity_CelebA.txt": listed([str(i + 100) for i in range(len(names))]),
        "list_bbox_celeba.txt": listed(["95  71 226 313"] * len(names), "image_id x_1 y_1 width height"),
        "list_landmarks_align_celeba.txt": listed(
            ["69  109  106  113   77  142   73  152  108  154"] * len(names),
            "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y",
        ),
        "list_eval_partition.txt": listed([str(part) for part in partition]),
    }
    known = [("images", "0" * 32, "img_align_celeba.zip")]
    for name, text in files.items():
        (folder / name).write_text(text)
        known.append((name, md5(folder / name), name))
    return known


def write_omniglot(root: Path, parts: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Omniglot's folders: ``images_background/ALPHABET/characterNN/NNNN_MM.png``, one bit a pixel, ink black.

    Args:
        root: Where the folder ``omniglot-py`` belongs.
        parts: Name of a part -> alphabet -> ink of its characters and drawers (characters, drawers, 105, 105), booleans.
    """
    for part, alphabets in parts.items():
        for alphabet, characters in alphabets.items():
            for c, drawers in enumerate(characters):
                folder = root / "omniglot-py" / part / alphabet / f"character{c + 1:02d}"
                folder.mkdir(parents=True)
                for d, ink in enumerate(drawers):
                    Image.fromarray(~ink).save(folder / f"{c + 1:04d}_{d + 1:02d}.png")


def amat(images: np.ndarray) -> str:
    """Larochelle's text: one line per image, 784 digits with spaces between."""
    return "".join(" ".join(map(str, row)) + "\n" for row in images.reshape(len(images), -1))
