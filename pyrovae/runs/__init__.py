"""Runs: the folder, the records in it, and opening the model and the data."""

from __future__ import annotations

from pyrovae.runs.folder import (
    CONFIG,
    METRICS,
    MODEL,
    SECONDS,
    STATE,
    discard_if_unsaved,
    load,
    load_state,
    model_config,
    read_config,
    read_metrics,
    rebuild,
    save,
    save_state,
    save_weights,
    write_config,
)

__all__ = [
    "CONFIG",
    "METRICS",
    "MODEL",
    "SECONDS",
    "STATE",
    "discard_if_unsaved",
    "load",
    "load_state",
    "model_config",
    "read_config",
    "read_metrics",
    "rebuild",
    "save",
    "save_state",
    "save_weights",
    "write_config",
]
