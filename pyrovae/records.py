"""What estimators found, in a run's evidence/ folder: a JSON and an .npz each; only the same is replaced."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from pyrovae import files
from pyrovae.version import __version__


class Estimate(Protocol):
    """What an estimator found: a summary, and arrays with a row for each datum."""

    per_datum: Mapping[str, Tensor]

    def identity(self) -> dict[str, Any]:
        """What was asked, as fields of the summary: equal for two of which the later may replace the earlier."""

    def to_json(self) -> str:
        """The summary."""


def place(folder: Path, name: str, found: Estimate) -> Path:
    """The JSON file of what was found: evidence/NAME.json, or NAME-DIGEST.json where that has the answer to another question."""
    asked = _plain(found.identity())
    path = folder / "evidence" / f"{name}.json"
    there = _read(path)
    if there is None or all(key in there and there[key] == value for key, value in asked.items()):
        return path
    return path.with_stem(f"{name}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}")


def save_estimate(folder: Path, name: str, found: Estimate) -> Path:
    """Write what was found into a run: the summary, and the arrays into an .npz file beside it.

    Returns:
        The JSON file, see ``place``.
    """
    path = place(folder, name, found)
    files.write_arrays(path.with_suffix(".npz"), found.per_datum, folder)
    files.write_whole(path, found.to_json().encode(), folder)
    return path


def calibration_picture(numbers: Path) -> Path:
    """The picture that belongs to a JSON file of ``classify``: calibration of other data has another name too."""
    return numbers.parent.parent / "figures" / numbers.with_suffix(".png").name.replace("classes", "calibration")


def _read(path: Path) -> dict[str, Any] | None:
    """The summary in a file; None without one that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@final
class Partial:
    """Where the results of an evaluation under way are kept in a run: evidence/.partial-DIGEST.npz.

    Args:
        folder: The run.
        settings: What the results depend on, as plain data.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        made_by = {"torch": torch.__version__, "pyrovae": __version__}
        digest = hashlib.sha256(json.dumps({**settings, **made_by}, sort_keys=True).encode()).hexdigest()
        self.folder = folder
        self.path = folder / "evidence" / f".partial-{digest[:16]}.npz"

    def load(self) -> dict[str, Tensor]:
        """The results of the first data; empty without any, or where they cannot be read."""
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return {}

    def save(self, found: Mapping[str, Tensor]) -> None:
        """Keep the results of the first data."""
        files.write_arrays(self.path, found, self.folder)

    def remove(self) -> None:
        """Nothing is to be kept any more."""
        files.check_no_link(self.path, self.folder)
        self.path.unlink(missing_ok=True)


def read_records(folder: Path, estimator: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Summary and arrays of every evaluation of a run by that estimator; those that cannot be read are left out."""
    for path in sorted((folder / "evidence").glob(f"{estimator}*.json")):
        summary = _read(path)
        if summary is None or summary.get("estimator") != estimator:
            continue
        try:
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            continue
        yield summary, found
