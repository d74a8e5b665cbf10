"""What estimators found, in a run's evidence/ folder: a JSON and an .npz each; only the same is replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor

from pyrovae import files
from pyrovae.bounds import read_text
from pyrovae.data.numpy_files import NumpyFile
from pyrovae.errors import UserError
from pyrovae.tensorfiles import read_tensors, write_tensors
from pyrovae.version import __version__

ASKED = "asked"
"""In the file of an evaluation under way: a digest of what it depends on."""


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


@final
class Keeper:
    """Where what is found of a run is kept: its evidence/. What cannot be written there is said, and shown all the same.

    Args:
        folder: The run; None for a model in memory, of which nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None
        with files.said_if_unwritten():
            if folder is not None:
                _check_evidence(folder)
                self._folder = folder

    def keep(self, name: str, found: Estimate) -> Path | None:
        """Write what was found: the summary, and the arrays into an .npz file beside it.

        Returns:
            The JSON file, see ``place``; None where it could not be written, which a warning says.
        """
        if self._folder is None:
            return None
        path = place(self._folder, name, found)
        with files.said_if_unwritten(path):
            files.write_arrays(path.with_suffix(".npz"), found.per_datum, self._folder)
            files.write_whole(path, found.to_json().encode(), self._folder)
            return path
        return None

    def partial(self, settings: Mapping[str, Any]) -> Partial | None:
        """Where the results of an evaluation under way are kept; None for nowhere."""
        return None if self._folder is None else Partial(self._folder, settings)


def _check_evidence(folder: Path) -> None:
    evidence = folder / "evidence"
    files.check_no_link(evidence / "numbers", folder)
    if not files.is_writable(evidence):
        raise files.WriteError(evidence, f"{evidence}: cannot be written")


def calibration_picture(numbers: Path) -> Path:
    """The picture that belongs to a JSON file of ``classify``: calibration of other data has another name too."""
    return numbers.parent.parent / "figures" / numbers.with_suffix(".png").name.replace("classes", "calibration")


def _read(path: Path) -> dict[str, Any] | None:
    """The summary in a file; None without one that can be read."""
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@final
class Partial:
    """Where the results of an evaluation under way are kept in a run: evidence/.partial-DIGEST.safetensors.

    Args:
        folder: The run.
        settings: What the results depend on, as plain data.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        made_by = {"torch": torch.__version__, "pyrovae": __version__}
        self._asked = hashlib.sha256(json.dumps({**settings, **made_by}, sort_keys=True).encode()).hexdigest()
        self._folder = folder
        self.path = folder / "evidence" / f".partial-{self._asked[:16]}.safetensors"

    def load(self) -> dict[str, Tensor]:
        """The results of the first data; empty without any, or where they are damaged or those of another evaluation."""
        if not self.path.is_file():
            return {}
        try:
            found, plain = read_tensors(self.path)
        except UserError:
            return {}
        rows = {tensor.shape[:1] for tensor in found.values()}
        return found if plain.get(ASKED) == self._asked and len(rows) == 1 and torch.Size() not in rows else {}

    def save(self, found: Mapping[str, Tensor]) -> None:
        """Keep the results of the first data.

        Raises:
            WriteError: If they cannot be written.
        """
        write_tensors(self.path, found, {ASKED: self._asked}, self._folder)

    def remove(self) -> None:
        """Nothing is to be kept any more."""
        files.check_no_link(self.path, self._folder)
        self.path.unlink(missing_ok=True)


def read_records(folder: Path, estimator: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Summary and arrays of every evaluation of a run by that estimator; those that cannot be read are left out."""
    for path in sorted((folder / "evidence").glob(f"{estimator}*.json")):
        summary = _read(path)
        if summary is None or summary.get("estimator") != estimator:
            continue
        try:
            arrays = NumpyFile(path.with_suffix(".npz"))
            found = {name: torch.from_numpy(arrays.read([name])) for name in arrays.headers}
        except (UserError, TypeError):  # TypeError: numbers of a type that torch has not
            continue
        yield summary, found
