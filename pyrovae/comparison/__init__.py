"""Comparison of runs: which may be ranked together, and how certain the order is."""

from __future__ import annotations

from pyrovae.comparison.compare import compare
from pyrovae.comparison.entries import Entry, Settings, choice_in_words, read_entry
from pyrovae.comparison.league import League, write_league
from pyrovae.comparison.ranking import rank
from pyrovae.comparison.rows import Group, Row

__all__ = [
    "Entry",
    "Group",
    "League",
    "Row",
    "Settings",
    "choice_in_words",
    "compare",
    "rank",
    "read_entry",
    "write_league",
]
