"""What the reports of all commands share: the numbers in them, JSON, tables, and a notebook's HTML."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
import torch
from known_models import LinearGaussian, all_of
from scipy import stats

import pyrovae
from pyrovae.contracts import DataSpec, Evidence
from pyrovae.evidence.keyed import Generators
from pyrovae.evidence.purposes import Purpose
from pyrovae.evidence.reports.data_evaluation import read_evaluation
from pyrovae.evidence.reports.numbers import Number

SUMMARY = [
    "run",
    "data",
    "split",
    "n",
    "samples",
    "seed",
    "dequantisations",
    "options",
    "estimator",
    "method",
    "quantity",
    "units",
    "elbo",
    "log_evidence",
    "gap",
    "bounds",
    "bits_per_dim",
    "bits_per_dim_kind",
    "reconstruction",
    "kl",
    "kl_per_dimension",
    "decomposition",
    "active_units",
    "latent_dim",
    "effective_sample_size",
    "khat",
    "acceptance",
    "untrusted",
    "untrusted_by",
    "cannot_tell",
    "precision",
    "seconds",
    "model_sha256",
    "data_sha256",
]
"""What files of evaluations have held so far."""


class Cells(HTMLParser):
    """The texts of the cells of a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.texts += [""] * (tag == "td")

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


@pytest.fixture(scope="module")
def found() -> object:
    model = LinearGaussian()
    return pyrovae.evaluate(model.vae(0.3), data=all_of(model.draw(30), DataSpec((2, 3))))


def test_a_number_has_scipys_standard_error():
    values = np.random.default_rng(0).normal(size=20)
    number = Number.of(Evidence(estimate=torch.tensor(values), monte_carlo_error=torch.full((20,), 0.1, dtype=torch.float64)))
    assert number.mean == pytest.approx(values.mean())
    assert number.standard_error == pytest.approx(stats.sem(values))
    assert number.monte_carlo_error == pytest.approx(0.1 / math.sqrt(20))
    assert number.degrees_of_freedom is None
    assert str(number) == f"{values.mean():.3f} +- {stats.sem(values):.3f}  [{0.1 / math.sqrt(20):.4f}]"


def test_the_numbers_of_an_evaluation_are_typed(found):
    assert isinstance(found.log_evidence, Number)
    assert found.log_evidence.mean == pytest.approx(found.per_datum["estimate"].mean().item())
    assert found.decomposition.kl.mean > 0


def test_files_keep_their_keys(found):
    written = json.loads(found.to_json())
    assert list(written) == SUMMARY
    number = ["mean", "standard_error", "monte_carlo_error", "degrees_of_freedom", "monte_carlo_error_is"]
    assert [list(written[name]) for name in ("elbo", "log_evidence", "gap")] == [number] * 3
    assert list(written["decomposition"]["kl"]) == ["mean", "monte_carlo_error"]


def test_what_is_written_is_read_again(found):
    assert read_evaluation(json.loads(found.to_json()), found.per_datum).to_json() == found.to_json()


def test_a_mean_that_is_not_finite_is_null_in_a_file_and_nan_when_it_is_read():
    assert math.isnan(Number.read({"mean": None, "standard_error": 0.1}).mean)


def test_a_notebook_shows_the_lines_of_the_table(found):
    cells = Cells(found._repr_html_()).texts
    pairs = list(zip(cells[::2], cells[1::2], strict=True))
    assert "\n".join(f"{label:<18} {text}" for label, text in pairs) == found.table()
    assert any("+-" in text for text in cells)


def test_no_two_purposes_share_their_noise():
    """Purposes with a number for each block have room for all of the 1023 blocks that a datum may have."""
    ranges = {
        purpose: range(purpose, purpose + (1023 if purpose in (Purpose.PRIOR, Purpose.HEAVY) else 1)) for purpose in Purpose
    }
    for first, second in combinations(ranges, 2):
        assert set(ranges[first]).isdisjoint(ranges[second])
    drawn = [Generators(0, [0], purpose).normal(5) for purpose in Purpose]
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == len(Purpose)


def test_purposes_keep_their_numbers():
    """Those that the noise of every number reported so far has been keyed by."""
    known = {"PILOT": 10, "CHAINS": 11, "SIMULATION": 12, "REVERSE": 13, "RESAMPLING": 20, "PRIOR": 1000, "HEAVY": 3000}
    assert {name: int(Purpose[name]) for name in known} == known
    assert (Purpose.PRIOR.of_block(3), Purpose.HEAVY.of_block(0)) == (1003, 3000)
