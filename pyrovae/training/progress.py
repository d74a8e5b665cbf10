"""Progress of a training on stderr: a bar on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tqdm import tqdm


@contextmanager
def progress_of(total: int, done: int, wanted: bool) -> Iterator[Callable[[str], None]]:
    """A function to be called after every epoch with a summary of it.

    Args:
        total: Epochs of the training.
        done: Epochs that were finished before.
        wanted: Whether to show progress at all.
    """
    if not wanted or sys.stderr is None:
        yield lambda text: None
    elif sys.stderr.isatty():
        with tqdm(total=total, initial=done, unit="epoch") as bar:

            def advance(text: str) -> None:
                bar.update()
                bar.set_postfix_str(text)

            yield advance
    else:
        epoch = done

        def log(text: str) -> None:
            nonlocal epoch
            epoch += 1
            with suppress(OSError):  # a failure to write the log must not end the training
                print(f"epoch {epoch} of {total}: {text}", file=sys.stderr, flush=True)

        yield log
