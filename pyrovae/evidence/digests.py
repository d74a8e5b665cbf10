"""What a number was computed from, as digests: equal digests and settings give equal numbers."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.vae import VAE

CHUNK = 4096


def model_digest(vae: VAE) -> str:
    """SHA-256 of a model: its parts with their options, the data it is for, and its weights."""
    made_of = repr((dict(vae.parts), vae.preprocess_choice, vae.spec, vae.latent_dim))
    weights = sorted(vae.state_dict().items())
    return _sha256([made_of.encode(), *(part for name, tensor in weights for part in (name.encode(), _bytes(tensor)))])


def rows_digest(rows: Split, context: Tensor | None) -> str:
    """SHA-256 of the data that were scored: their values (of whatever type), rows in the data set, and contexts."""
    # As float64, which holds bytes and floats exactly; some at a time, since that is up to eight times their memory.
    values = (_bytes(part.double()) for part in rows.x.split(CHUNK))
    others = (_bytes(rows.index), b"" if context is None else _bytes(context))
    return _sha256(itertools.chain([repr(tuple(rows.x.shape)).encode()], values, others))


def _sha256(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # Lengths are hashed too, because different lists of parts can have the same concatenation.
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
