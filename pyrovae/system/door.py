"""The door of a program: whatever goes wrong inside leaves as one line on stderr and an exit code, not as a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from pyrovae.errors import NOT_GIVEN, UserError, is_out_of_memory, option, shown
from pyrovae.system.interruption import exiting

UNWRITTEN, REFUSED = 1, 2
"""Exit codes: the output could not be written; the program would not do what was asked."""

OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What writing to stdout fails with; files that are written are named where they fail."""

NO_MORE_THREADS = "can't start new thread"

TAKES_MEMORY = ("count", "batch_size", "particles", "latent_dim", "network", "samples", "chains", "simulated", "limit")
"""Options that say how much memory is needed."""


def leave(
    work: Callable[[], int | None],
    program: str,
    tokens: Sequence[str] = (),
    spell: Callable[[UserError | Warning], str] = str,
) -> NoReturn:
    """Do what a program does, and exit with its code: 0 unless it returns another; 2 after an error that the user can mend,
    3 after a training that diverged.

    1 where stdout could not be written, and 128 + its number after a signal. An error that nobody but us can mend is raised.

    Args:
        work: What it does, stdout included.
        program: What it is called in errors.
        tokens: Its command line: what was given is named in errors.
        spell: The text of an error or a warning, with options as the program's users write them.
    """
    closed = _open_streams()
    try:
        with exiting(), warnings.catch_warnings():
            warnings.showwarning = noting(spell)
            code = work() or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except UserError as error:
        code = _say(program, spell(error), error.exit_code)
    except BrokenPipeError:
        code = UNWRITTEN  # the reader of our output has gone; nothing more can be said to it
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        traceback.clear_frames(error.__traceback__)  # what ran out of memory holds it until then
        reason, code = explained(error, tokens)
        if reason is None:
            raise
        _say(program, spell(UserError(None, NOT_GIVEN, reason)), code)
    code = _delivered(program, code, closed)
    try:
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)
    sys.exit(code)


def explained(error: BaseException, tokens: Sequence[str]) -> tuple[str | None, int]:
    """What went wrong around a program, in one line that names what was given, and the exit code; None where it is our fault.

    Args:
        error: What was raised.
        tokens: Its command line.
    """
    if is_out_of_memory(error):
        given = [said for said in (_given(name, tokens) for name in TAKES_MEMORY) if said]
        smaller = (
            "smaller numbers there"
            if given
            else f"fewer {option('samples')}, a smaller {option('batch_size')}, smaller networks or less data"
        )
        return f"{', '.join([*given, 'this'])} needs more memory than there is; try {smaller}", REFUSED
    if isinstance(error, RecursionError):
        files = ", ".join(_files(tokens)) or "what was read"
        return f"{files}: is nested too deeply to be read; give a file that a program like this wrote", REFUSED
    if isinstance(error, RuntimeError) and NO_MORE_THREADS in str(error):
        return f"{NO_MORE_THREADS}: the system allows this user no more; end other programs, or set OMP_NUM_THREADS=1", REFUSED
    if not isinstance(error, OSError):
        return None, UNWRITTEN
    if error.filename is not None:
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
        return f"{place}: cannot be used ({error.strerror or error}); {_remedy(error)}", REFUSED
    if error.errno in OF_OUTPUT:
        return _unwritten(error), UNWRITTEN
    return f"{', '.join(_files(tokens)) or 'the system'}: {error.strerror or error}; {_remedy(error)}", REFUSED


def noting(spell: Callable[[UserError | Warning], str] = str) -> Callable[..., None]:
    """What shows a warning as a line for people, without the line of code that it comes from."""

    def note(message: Warning | str, *where: Any, **more: Any) -> None:
        with contextlib.suppress(OSError):  # a log that is full does not end what it is the log of
            print(f"pyrovae: note: {spell(message) if isinstance(message, Warning) else message}", file=sys.stderr)

    return note


def _open_streams() -> bool:
    """Open what the parent process has closed, so that no file of ours gets its number; whether stdout was closed."""
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (until the end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a path need not have an encoding
    return closed


def _say(program: str, text: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"{program}: error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    return code


def _delivered(program: str, code: int, closed: bool) -> int:
    """The exit code, stdout written to its end or given up."""
    try:
        if closed and code == 0:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or UNWRITTEN
    except OSError as error:
        code = code or _say(program, _unwritten(error), UNWRITTEN)
    else:
        return code
    _give_up(sys.stdout)
    return code


def _give_up(stream: TextIO) -> None:
    """Send what is left of a stream nowhere: the interpreter flushes it once more, and would exit with 120."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unwritten(error: OSError) -> str:
    return f"stdout: could not be written ({error.strerror}); what was asked for is done but for that; send it elsewhere: > FILE"


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space or choose another place"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open: raise the limit (ulimit -n), or end other programs"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "ask for the right to use it, or choose another place"
    return "see what is there, or choose another place"


def _given(name: str, tokens: Sequence[str]) -> str | None:
    """What the command line says of an option, as it says it."""
    asked = "--" + name.replace("_", "-")
    for i, token in enumerate(tokens):
        head, equals, value = token.partition("=")
        flag = head.replace("_", "-")
        if flag == asked or flag.startswith(f"{asked}."):
            return f"{flag} {shown(value if equals else ' '.join(tokens[i + 1 : i + 2]))}"
    return None


def _files(tokens: Sequence[str]) -> list[str]:
    """What a command line names that is a file or a folder."""
    values = [token.rpartition("=")[2] for token in tokens]
    return [shown(value) for value in values if value and _exists(value)]


def _exists(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return False
