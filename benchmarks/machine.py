"""What a benchmark ran on."""

from __future__ import annotations

import platform
import subprocess

import pyro
import torch

import pyrovae


def processor() -> str:
    """The CPU's name."""
    cpu = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    return next((line.split(":")[1].strip() for line in cpu.splitlines() if "Model name" in line), platform.processor())


def versions() -> str:
    """torch, Pyro and this package."""
    return f"torch {torch.__version__}, pyro-ppl {pyro.__version__}, pyrovae {pyrovae.__version__}"
