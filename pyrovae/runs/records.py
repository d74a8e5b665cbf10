"""Stores evaluations in a run's evidence/ folder, as a JSON and an .npz file each; only equal settings are replaced."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor

from pyrovae.data.numpy_files import NumpyFile
from pyrovae.errors import UserError
from pyrovae.evidence.reports.certificate import Certificate
from pyrovae.evidence.reports.data_evaluation import DataEvaluation
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.system import files
from pyrovae.system.bounds import open_regular, read_text
from pyrovae.system.tensorfiles import digest_of, read_tensors, write_tensors
from pyrovae.version import __version__

UNREADABLE = (UserError, TypeError, OSError, ValueError, zipfile.BadZipFile, NotImplementedError)
"""Errors raised by reading a damaged archive; TypeError is for number types that torch lacks."""

ASKED = "asked"
"""Key in the file of a partial evaluation: a digest of the settings it depends on."""


class Estimate(Protocol):
    """An estimator's result: a summary, and arrays with one row per datum."""

    @property
    def per_datum(self) -> Mapping[str, Tensor]:
        """By name."""

    def identity(self) -> dict[str, Any]:
        """The settings, as fields of the summary; a later result with equal settings may replace an earlier one."""

    def to_json(self) -> str:
        """The summary."""


def place(folder: Path, name: str, found: Estimate) -> Path:
    """The JSON file of a result: evidence/NAME.json, or NAME-DIGEST.json if that file holds a result with other settings."""
    asked = _plain(found.identity())
    path = folder / "evidence" / f"{name}.json"
    there = _read(path)
    if there is None or all(key in there and there[key] == value for key, value in asked.items()):
        return path
    return path.with_stem(f"{name}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}")


@final
class Keeper:
    """The evidence/ folder of a run. If a result cannot be written there, a warning says so, and it is shown nevertheless.

    Args:
        folder: The run; None for a model in memory, for which nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None
        self._partials: list[Partial] = []
        with files.said_if_unwritten():
            if folder is not None:
                _check_evidence(folder)
                self._folder = folder

    def keep(self, name: str, found: Estimate) -> Path | None:
        """Write a result: the summary as JSON, and the arrays into an .npz file next to it.

        Returns:
            The JSON file, see ``place``; None, after a warning, if it could not be written.
        """
        if self._folder is None:
            return None
        path = place(self._folder, name, found)
        with files.said_if_unwritten(path):
            text = found.to_json()
            arrays = {name: tensor for name, tensor in found.per_datum.items() if tensor is not None}
            files.write_arrays(path.with_suffix(".npz"), arrays, self._folder, digest_of(arrays, text))
            files.write_whole(path, text.encode(), self._folder)
            return path
        return None

    def kept(self, asked: Mapping[str, Any]) -> Partial | None:
        """Storage for the partial results of an evaluation, until ``finish``; None if nothing is kept."""
        if self._folder is None:
            return None
        self._partials.append(Partial(self._folder, asked))
        return self._partials[-1]

    def write(self, found: Evaluation) -> Path | None:
        """``keep`` an evaluation under its estimator's name."""
        return self.keep(found.estimator, found)

    def finish(self, found: Evaluation) -> None:
        """Write an evaluation, then remove its partial results."""
        if self.write(found) is not None:
            for partial in self._partials:
                partial.remove()


def _check_evidence(folder: Path) -> None:
    evidence = folder / "evidence"
    files.check_no_link(evidence / "numbers", folder)
    if not files.is_writable(evidence):
        raise files.WriteError(None, evidence, "cannot be written")


def calibration_picture(numbers: Path) -> Path:
    """The picture that belongs to a JSON file of ``classify``; other data have another file name."""
    return numbers.parent.parent / "figures" / numbers.with_suffix(".png").name.replace("classes", "calibration")


def _read(path: Path) -> dict[str, Any] | None:
    """The summary in a file; None if it cannot be read."""
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@final
class Partial:
    """Storage for partial results in a run: evidence/.partial-DIGEST.safetensors.

    Args:
        folder: The run.
        settings: The settings that the results depend on, as plain data.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        made_by = {"torch": torch.__version__, "pyrovae": __version__}
        self._asked = hashlib.sha256(json.dumps({**settings, **made_by}, sort_keys=True).encode()).hexdigest()
        self._folder = folder
        self.path = folder / "evidence" / f".partial-{self._asked[:16]}.safetensors"

    def load(self) -> dict[str, Tensor]:
        """The results kept so far; empty if there are none, or if they are damaged or belong to another evaluation."""
        if not self.path.is_file():
            return {}
        try:
            found, plain = read_tensors(self.path)
        except UserError:
            return {}
        rows = {tensor.shape[:1] for tensor in found.values()}
        return found if plain.get(ASKED) == self._asked and len(rows) == 1 and torch.Size() not in rows else {}

    def save(self, found: Mapping[str, Tensor]) -> None:
        """Keep the results computed so far.

        Raises:
            WriteError: If they cannot be written.
        """
        write_tensors(self.path, found, {ASKED: self._asked}, self._folder)

    def remove(self) -> None:
        """Nothing is to be kept any more."""
        files.check_no_link(self.path, self._folder)
        self.path.unlink(missing_ok=True)


def read_records(folder: Path, estimator: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Summary and arrays of every evaluation of a run by that estimator.

    Omits those that cannot be read, were edited, or whose two files do not match (after a crash between them): the comment of
    the archive is a digest of both. Older files have none, so their contents are compared instead.
    """
    for path in sorted((folder / "evidence").glob(f"{estimator}*.json")):
        summary = _read(path)
        if summary is None or summary.get("estimator") != estimator:
            continue
        try:
            with open_regular(path.with_suffix(".npz")) as file, zipfile.ZipFile(file) as archive:
                sealed = archive.comment
            arrays = NumpyFile(path.with_suffix(".npz"))
            found = {name: torch.from_numpy(arrays.read([name])) for name in arrays.headers}
            made = digest_of(found, read_text(path)).encode()
        except UNREADABLE:
            continue
        if sealed == made or (not sealed and _is_plausible(summary, found)):
            yield summary, found


MEANS = {"log_evidence": "estimate", "elbo": "elbo", "gap": "gap", "lower": "lower", "upper": "upper"}
"""Number in a summary -> the array of which it is the mean."""


def _is_plausible(summary: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> bool:
    """Whether a summary is complete and its means agree with the arrays."""
    kind = Certificate if "lower" in summary else DataEvaluation
    needed = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    if any(name not in summary for name in needed) or not isinstance(summary["options"], dict):
        return False
    if any(array.shape[:1] != (summary["n"],) for array in arrays.values()):
        return False
    numbers = [(summary.get(name), arrays.get(of)) for name, of in MEANS.items()]
    bounds, bound = summary.get("bounds") or [], arrays.get("bound", torch.empty(1, 0))
    if not isinstance(bounds, list) or len(bounds) != bound.shape[-1]:
        return False
    numbers += zip(bounds, bound.T, strict=True)
    known = summary.get("khat") is None or (isinstance(summary["khat"], dict) and "threshold" in summary["khat"])
    return known and all(number is None or _is_mean(number, array) for number, array in numbers)


def _is_mean(number: Any, array: Tensor | None) -> bool:
    if not isinstance(number, dict) or array is None:
        return False
    mean, found = array.double().mean().item(), number.get("mean")
    return not math.isfinite(mean) if found is None else isinstance(found, float) and math.isclose(mean, found, rel_tol=1e-9)
