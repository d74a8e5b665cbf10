"""The Olivetti faces."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch

from pyrovae.contracts import Attribute, DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.downloads import fetching
from pyrovae.data.labels import Labels, coded, one_label
from pyrovae.data.numpy_files import NumpyFile
from pyrovae.data.source import SplitSource
from pyrovae.errors import UserError, check_choice, check_integer

FILE = "olivetti.npz"
SHAPE = (64, 64)
BRIGHTEST = 242
"""Of the bytes; scikit-learn divides by it."""

ANSWERED = ("glasses", "smile")
ANSWERS = (0, 1, -1)


@final
@dataclass(frozen=True, kw_only=True)
class Olivetti(SplitSource):
    """The Olivetti faces: ten photographs of each of 40 people, 64x64 bytes; the test set is of people not trained on.

    Labels are subject and, where ``olivetti/olivetti.npz`` in the data root has them, glasses and smile (no, yes, unknown);
    without that file scikit-learn downloads the images and subjects.

    Source: Samaria and Harter (1994), Parameterisation of a Stochastic Model for Human Face Identification; AT&T
    Laboratories Cambridge, as scikit-learn ships them.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits, the choice of people among them.
        held_out: Number of people whose images are the test set; 0 for none.
        unknown: Whether to ``keep`` or to ``drop`` photographs of which it is not known whether there are glasses or a smile;
            there are too few of them for a model conditioned on either to learn from.

    Raises:
        UserError: If an option is wrong.
    """

    held_out: int = 8
    unknown: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("data.held_out", self.held_out, 0)
        check_choice("data.unknown", self.unknown, ("keep", "drop"))

    def load(self, root: Path) -> Dataset:
        path = root / "olivetti" / FILE
        if not path.is_file():
            _download(path)
        arrays = NumpyFile(path).arrays(["images", "subject", *ANSWERED])
        images, subject = _checked(path, arrays)
        answers = {name: arrays[name] for name in ANSWERED if name in arrays}
        if self.unknown == "drop":
            known = np.stack([np.ones(len(images)), *answers.values()]).min(0) >= 0
            images, subject, answers = images[known], subject[known], {name: found[known] for name, found in answers.items()}
        x = torch.from_numpy(np.ascontiguousarray(images))
        labels = _labels(subject, answers)
        spec = DataSpec(SHAPE, "levels", 256, labels.class_names, labels.attributes)
        rest, test = self._people(torch.from_numpy(subject.astype(np.int64)))
        return Dataset("olivetti", spec, x, labels.y, self.split_off_valid(rest, test))

    def _people(self, subject: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        people = subject.unique()
        if self.held_out >= len(people):
            raise UserError("data.held_out", self.held_out, f"there are {len(people)} people", "leave some to train on")
        strangers = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(self.split_seed))][: self.held_out]
        held_out = torch.isin(subject, strangers)
        return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    images, subject = arrays.get("images", np.zeros(0)), arrays.get("subject", np.zeros(0))
    count = len(images)
    fits = images.dtype == np.uint8 and images.shape == (count, *SHAPE) and count
    fits = fits and subject.shape == (count,) and subject.dtype.kind in "iu"
    answers = [arrays[name] for name in ANSWERED if name in arrays]
    if not fits or not all(found.shape == (count,) and set(found.tolist()) <= set(ANSWERS) for found in answers):
        raise UserError(
            "data",
            "olivetti",
            f"{path} needs images (N, 64, 64) of bytes and subject (N,) of integers, and may have glasses and "
            "smile (N,) of 0, 1 or -1",
            "mend it, or delete it and try again",
        )
    return images, subject


def _labels(subject: np.ndarray, answers: dict[str, np.ndarray]) -> Labels:
    if not answers:
        return one_label(subject)
    first, names = coded(subject)
    codes, attributes = [first], [Attribute("subject", names)]
    for name, found in answers.items():
        codes.append(torch.from_numpy(np.where(found < 0, 2, found).astype(np.int64)))
        attributes.append(Attribute(name, ("no", "yes", "unknown") if (found < 0).any() else ("no", "yes")))
    return Labels(torch.stack(codes, dim=1), attributes=tuple(attributes))


def _download(path: Path) -> None:
    from sklearn.datasets import fetch_olivetti_faces

    with fetching("olivetti", [FILE], path.parent), tempfile.TemporaryDirectory() as empty:
        # scikit-learn unpickles what an earlier call has left in its folder, unchecked: it gets an empty one. It says on
        # stdout what it downloads, and warns before its one retry.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(action="ignore"):
            bunch = fetch_olivetti_faces(data_home=empty, n_retries=1)
        images = np.rint(bunch.images * BRIGHTEST)
        if not np.allclose(images, bunch.images * BRIGHTEST, atol=0.01):
            raise ValueError("its images are not multiples of 1/242 any more")
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")
        with made.open("wb") as file:
            np.savez_compressed(file, images=images.astype(np.uint8), subject=bunch.target)
        made.replace(path)
