"""The command line: parse and print."""

from __future__ import annotations

from pyrovae.cli.program import COMMANDS, main

__all__ = ["COMMANDS", "main"]
