"""Checks that a model can be rebuilt from its options; otherwise its run could not be opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pyrovae.contracts import DataSpec, Part
from pyrovae.errors import NOT_GIVEN, UserError
from pyrovae.system.devices import own_noise
from pyrovae.system.modes import in_evaluation
from pyrovae.vae import VAE

PLAIN = (bool, int, float, str, type(None), tuple, Part, DataSpec)
"""Attributes besides tensors that define a module, such as the padding of a convolution."""

PROBED = 4
"""Number of inputs for which the outputs of a module with hooks are compared."""

OWN_STATE = ("training",)
"""Attributes that describe a module's state rather than its definition."""


def check_rebuilt(vae: VAE, again: VAE) -> None:
    """Refuse a model that cannot be rebuilt from its options.

    Args:
        vae: The model.
        again: The model rebuilt from its options, with the same modules if it was made of modules.

    Raises:
        UserError: If something differs; it says what.
    """
    odd = next(_differences(vae, again), None)
    if odd is not None:
        raise UserError(
            f"vae.{odd}",
            NOT_GIVEN,
            reason="is not what the options of the model make, so that its run could not be opened",
            remedy="choose it by an option, give modules of your own with VAE(..., encoder=MODULE, decoder=MODULE), or keep the "
            "weights with torch.save(vae.state_dict(), FILE) and the code that makes the model",
        )


def _differences(vae: VAE, again: VAE) -> Iterator[str]:
    """Names of modules, tensors and attributes that differ."""
    modules, expected = dict(vae.named_modules()), dict(again.named_modules())
    yield from (name for name in [*modules, *expected] if type(modules.get(name)) is not type(expected.get(name)))
    for name, module in modules.items():
        yield from (_below(name, what) for what in _overridden(module))
        if name:  # the VAE's own attributes are its options and the prepared flag
            yield from (_below(name, what) for what in _attributes_that_differ(module, expected[name]))
    try:
        again.load_state_dict(vae.state_dict())
    except RuntimeError as error:
        yield str(error).splitlines()[-1].strip()
    # After loading, because the preprocessing takes the type of its input.
    tensors = again.state_dict()
    yield from (name for name, tensor in vae.state_dict().items() if tensors[name].dtype != tensor.dtype)
    yield from (name for name in ("encoder", "decoder") if _has_hooks(getattr(vae, name)) and not _same_outputs(name, vae, again))


def _below(name: str, what: str) -> str:
    return f"{name}.{what}".lstrip(".")


def _overridden(module: nn.Module) -> list[str]:
    """Methods that are overridden on this instance."""
    return [name for name, value in vars(module).items() if callable(value) and callable(getattr(type(module), name, None))]


def _has_hooks(module: nn.Module) -> bool:
    return any(one._forward_pre_hooks or one._forward_hooks for one in module.modules())


def _same_outputs(name: str, vae: VAE, again: VAE) -> bool:
    """Whether a module returns what the other does: a hook may look on, and it may change what is returned."""
    again.to(vae.device)
    in_shape = vae.spec.event_shape if name == "encoder" else (vae.latent_dim,)
    with in_evaluation(vae), in_evaluation(again), own_noise():
        x = torch.rand(PROBED, *in_shape, device=vae.device, dtype=vae.dtype)
        size = vae.context_module.embedding_dim
        embedding = torch.rand(PROBED, size, device=vae.device, dtype=vae.dtype) if size else None
        return torch.equal(getattr(vae, name)(x, embedding), getattr(again, name)(x, embedding))


def _attributes_that_differ(module: nn.Module, expected: nn.Module) -> list[str]:
    """Plain attributes of a module that are not those of the other."""
    mine, others = (_plain(one) for one in (module, expected))
    return [name for name in mine if name in others and mine[name] != others[name]]


def _plain(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if isinstance(value, PLAIN) and name not in OWN_STATE}
