"""Rows of a training's history as TensorBoard events; the package tensorboard is an optional extra."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from pyrovae.errors import NOT_GIVEN, UserError
from pyrovae.system.files import check_no_link

FOLDER = "tensorboard"


def check_tensorboard() -> None:
    """Refuse to write events where the package is missing.

    Raises:
        UserError: If it is missing; the message says how to install it.
    """
    if find_spec("tensorboard") is None:
        raise UserError(
            "tensorboard", NOT_GIVEN, "needs the package tensorboard", "pip install 'pyrovae[tensorboard]', or leave it out"
        )


@contextmanager
def event_log(run: Path) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A function that writes a row of the history into run/tensorboard/, one scalar per column, at the step ``epoch``.

    Args:
        run: The run folder.

    Raises:
        UserError: If tensorboard/ is a link.
    """
    from torch.utils.tensorboard import SummaryWriter

    check_no_link(run / FOLDER / "events", run)
    with ExitStack() as stack:
        writers: list[SummaryWriter] = []

        def log(row: Mapping[str, float]) -> None:
            if not writers:  # created with the first row, so that a training that fails at once leaves no file
                writers.append(stack.enter_context(SummaryWriter(str(run / FOLDER))))
            for name, value in row.items():
                if name != "epoch" and math.isfinite(value):
                    writers[0].add_scalar(name, value, int(row["epoch"]))
            writers[0].flush()

        yield log
