"""Tensors and plain data in one safetensors file with a digest of both: equal contents make equal files, and no code is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pyrovae.errors import UserError, option
from pyrovae.system.files import write_whole

KEY = "pyrovae"
"""The one key of the metadata: safetensors writes several in an order that varies."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], home: Path) -> None:
    """Write tensors and plain data.

    Args:
        path: The file.
        tensors: By name.
        plain: What JSON can hold.
        home: The folder that the user named, see ``write_whole``.

    Raises:
        UserError: As ``write_whole``.
    """
    tensors = {name: _plain(tensor) for name, tensor in tensors.items()}
    text = json.dumps(plain)
    metadata = json.dumps({"plain": text, "sha256": digest_of(tensors, text)})
    write_whole(path, save(tensors, {KEY: metadata}), home)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``write_tensors`` wrote.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        content = path.read_bytes()
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
        text, recorded = metadata["plain"], metadata["sha256"]
        plain = json.loads(text)
        intact = recorded == digest_of(tensors, text)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise UserError(None, path, f"is damaged ({error})", "restore it or train again") from error
    if not intact:
        raise UserError(None, path, "is damaged (its digest does not match its contents)", "restore it or train again")
    if not isinstance(plain, dict):
        raise UserError(None, path, "is damaged (its description is no mapping)", "restore it or train again")
    return tensors, plain


def read_plain(path: Path) -> dict[str, Any]:
    """The plain data of a file of ``write_tensors`` alone, which are at its beginning; its digest is not looked at.

    Raises:
        UserError: If it is damaged there.
    """
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return dict(json.loads(json.loads(header["__metadata__"][KEY])["plain"]))
    except (ValueError, KeyError, TypeError, RecursionError, OSError, MemoryError, OverflowError) as error:
        raise UserError(None, path, f"is damaged ({error})", "restore it or train again") from error


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not finite.

    Raises:
        UserError: Naming the tensor.
    """
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            None, path, f"has numbers in {broken[0]} that are not finite", f"train again with a lower {option('learning_rate')}"
        )


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, with the strides that its shape alone gives: one element with a stride of 0 counts as contiguous too."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def digest_of(tensors: Mapping[str, Tensor], plain: str) -> str:
    """SHA-256 of tensors with their names, and of a text."""
    digest = hashlib.sha256(plain.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(_plain(tensors[name]).view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
