"""Files that are damaged or hostile: no code of theirs is run, none is trusted silently, and there is no traceback.

Each is read by the commands that read it. Where a command does not refuse it (exit 2, one line), what it prints and writes must
be what it makes of the file as it was.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from child import Answer, ask
from damage import TRAP, Trap
from report import Count, in_time
from world import TRAIN

EVALUATE = ["evaluate", "hurt", "--limit", "5", "--samples", "3", "--json", "made.json"]
SAME = ("seconds", "run")
"""What may differ between two equal evaluations."""

READERS: dict[str, list[list[str]]] = {
    "model.safetensors": [EVALUATE, ["sample", "hurt", "--count", "2", "--out", "made.npz"]],
    "training_state/state.safetensors": [["train", "--resume", "--out", "hurt", "--epochs", "3"]],
    "config.yaml": [EVALUATE, ["train", "--resume", "--out", "hurt", "--epochs", "3"], ["sample", "hurt", "--out", "made.npz"]],
    "metrics.csv": [["figures", "hurt", "--only", "learning_curves", "--out", "made"], ["compare", "hurt", "label"]],
    "evidence/importance.json": [EVALUATE, ["compare", "hurt", "run", "--limit", "5", "--samples", "3"]],
    "evidence/importance.npz": [EVALUATE, ["compare", "hurt", "run", "--limit", "5", "--samples", "3"]],
    "evidence/.partial": [EVALUATE],
    "data.npy": [["evaluate", "own", "--limit", "5", "--samples", "3", "--json", "made.json"]],
    "data.npz": [["evaluate", "zipped", "--limit", "5", "--samples", "3", "--json", "made.json"]],
    "data.csv": [["evaluate", "tabled", "--limit", "5", "--samples", "3", "--json", "made.json"]],
}
"""A file of a run, or the data of one -> the command lines that read it."""

SHARE = {"model.safetensors": 3, "training_state/state.safetensors": 3, "config.yaml": 2}
"""How much more often than the others a file is attacked."""

MANY = 600
"""Attempts of the long form."""

Change = Callable[[bytes, random.Random], bytes]


def flipped(content: bytes, dice: random.Random) -> bytes:
    """One bit is another."""
    place = dice.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << dice.randrange(8))]) + content[place + 1 :]


def cut(content: bytes, dice: random.Random) -> bytes:
    """The end is missing."""
    return content[: dice.randrange(len(content))]


def overwritten(content: bytes, dice: random.Random) -> bytes:
    """Some bytes are others."""
    place = dice.randrange(len(content))
    return (content[:place] + dice.randbytes(dice.randint(1, 64)) + content[place:])[: len(content)]


def longer(content: bytes, dice: random.Random) -> bytes:
    """There is more than there was."""
    return content + dice.randbytes(dice.randint(1, 64))


def pickled(content: bytes, dice: random.Random) -> bytes:
    """A pickle that makes a folder when it is read."""
    return pickle.dumps(Trap(), protocol=dice.randrange(6))


HOSTILE = [
    b"",
    b"\0",
    bytes(range(256)),
    b"[" * 3000,
    b"{" * 3000,
    b'{"a":' * 3000,
    b"null",
    b"[]",
    b"{}",
    b"1",
    b'"text"',
    b"NaN",
    b"\xef\xbb\xbf{}",
    f"run: !!python/object/apply:os.mkdir [{TRAP}]\n".encode(),
    f"!!python/object/new:os.mkdir [{TRAP}]\n".encode(),
    b"a: &a [1]\n" + b"".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n".encode() for i in range(20)),
    struct.pack("<Q", 2**63) + b"{}",
    struct.pack("<Q", 2) + b"{}",
    struct.pack("<Q", 10**9) + b"{}",
    b"\x93NUMPY\x01\x00\xff\xff{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }\n",
    b"\x93NUMPY\x09\x09v\x00",
    b"PK\x03\x04" + b"\0" * 40,
    b"PK\x05\x06" + b"\0" * 18,
    b"epoch,loss\n1,abc\n",
    b"epoch,epoch\n1,2,3\n",
    "ünïcödé,\u2028\n1,2\n".encode(),
]


def hostile(content: bytes, dice: random.Random) -> bytes:
    """Something else altogether."""
    return dice.choice(HOSTILE)


def other_structure(content: bytes, dice: random.Random) -> bytes:
    """JSON, or the metadata of tensors, with a value of another type; other files as ``overwritten``."""
    try:
        if content[8:9] == b"{":
            return _tensors_with_other_metadata(content, dice)
        return json.dumps(_changed(json.loads(content), dice)).encode()
    except ValueError:
        return overwritten(content, dice)


def _tensors_with_other_metadata(content: bytes, dice: random.Random) -> bytes:
    """Tensors whose digest is right and whose metadata are not: who writes such a file knows how we do."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = json.loads(header["__metadata__"]["pyrovae"])
    name = dice.choice(list(metadata))
    metadata[name] = dice.choice([None, 3, [], {}, "text", "0" * 64, "[]", "{}", '{"epoch": "x"}'])
    header["__metadata__"]["pyrovae"] = json.dumps(metadata)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _changed(value: object, dice: random.Random) -> object:
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(sorted(value))
        return {**value, key: _changed(value[key], dice)}
    return dice.choice([None, 3, -1, 1e999, [], {}, "text", True, [[[]]]])


CHANGES: tuple[Change, ...] = (flipped, flipped, cut, cut, overwritten, longer, pickled, hostile, other_structure)


@dataclass(frozen=True)
class Trial:
    """A file, how it was changed, and who reads it."""

    file: str
    change: Change
    line: list[str]


def run(folder: Path, count: int | None, seed: int) -> list[Count]:
    """Attack them, so many times."""
    dice = random.Random(seed)
    trials = list(_trials(dice, count or MANY))
    _prepare(folder, {trial.file for trial in trials})
    counts = {
        name: Count(f"damaged and hostile files: {name}", wanted)
        for name, wanted in (
            ("code run", "none is run"),
            ("silent", "refused, or the numbers of the file as it was"),
            ("traceback", "exit 0 or 2, one line"),
        )
    }
    whole = {}
    for trial in in_time(trials):
        key = (trial.file, tuple(trial.line))
        if key not in whole:
            whole[key] = _read(folder, trial, None)
        answer, made, good_file = _read(folder, trial, dice)
        about = f"{trial.change.__name__} {trial.file}, {' '.join(trial.line[:3])}: exit {answer.code}, {answer.line[:300]}"
        counts["code run"].note(not list(folder.rglob(TRAP)), about)
        refused = answer.code == 2 and answer.err.count("error: ") >= 1
        counts["silent"].note(refused or answer.code not in (0, 2) or made == whole[key][1] or good_file, f"silent: {about}")
        told = [text for text in answer.err.splitlines() if not text.startswith("pyrovae: note: ")]
        one_line = answer.code == 0 or (refused and len(told) == 1)
        counts["traceback"].note(one_line, about)
    return list(counts.values())


def _trials(dice: random.Random, count: int) -> Iterator[Trial]:
    targets = [file for file in READERS for _ in range(SHARE.get(file, 1))]
    dice.shuffle(targets)
    for i in range(count):
        file = targets[i % len(targets)]
        yield Trial(file, dice.choice(CHANGES), dice.choice(READERS[file]))


def _prepare(folder: Path, files: set[str]) -> None:
    """What is to be attacked: runs with an evaluation, one with a part of one, runs on data of one's own."""
    shutil.copy(folder / "table.npy", folder / "data.npy")
    shutil.copy(folder / "labelled.npz", folder / "data.npz")
    shutil.copy(folder / "table.csv", folder / "data.csv")
    for suffix, name, more in (("npy", "own", []), ("npz", "zipped", []), ("csv", "tabled", ["--data.label", "kind"])):
        if f"data.{suffix}" in files:
            line = [*TRAIN, "--epochs", "1", "--likelihood", "normal", "--data", f"data.{suffix}", "--out", name, *more]
            _ask_good(line, folder)
    for name in ("run", "label"):
        _ask_good([word.replace("hurt", name) for word in EVALUATE], folder)
    if "evidence/.partial" in files:
        shutil.copytree(folder / "run", folder / "part")
        _ask_good([word.replace("hurt", "part") for word in EVALUATE], folder, before=_keep_partial)


def _keep_partial() -> None:
    """An evaluation leaves the part of it that it keeps meanwhile."""
    from pyrovae.evidence import resumable as measuring
    from pyrovae.runs.records import Partial

    measuring.WORTH_SECONDS = -1.0
    Partial.remove = lambda self: None


def _ask_good(line: list[str], folder: Path, **how: object) -> None:
    answer = ask(line, folder, **how)
    if answer.code:
        raise SystemExit(f"{' '.join(line)}: {answer.err}")


def _read(folder: Path, trial: Trial, dice: random.Random | None) -> tuple[Answer, object, bool]:
    """What a command makes of a changed file: its answer, what it printed and wrote, and whether the change changed nothing."""
    shutil.rmtree(folder / "hurt", ignore_errors=True)
    for made in folder.glob("made*"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    shutil.copytree(folder / ("part" if "partial" in trial.file else "run"), folder / "hurt")
    for suffix, name in (("npy", "table.npy"), ("npz", "labelled.npz"), ("csv", "table.csv")):
        shutil.copy(folder / name, folder / f"data.{suffix}")
    place = folder / trial.file if trial.file.startswith("data.") else folder / "hurt" / trial.file
    place = next(place.parent.glob(".partial-*")) if "partial" in trial.file else place
    content = place.read_bytes()
    changed = content if dice is None else trial.change(content, dice)
    place.write_bytes(changed)
    answer = ask(trial.line, folder)
    return answer, (answer.code, answer.out if trial.line[0] == "compare" else _made(folder, trial)), changed == content


def _made(folder: Path, trial: Trial) -> object:
    """What was written that can be compared: numbers, arrays, pictures, the weights of a run that went on."""
    if trial.line[0] == "train":
        return hashlib.sha256((folder / "hurt/model.safetensors").read_bytes()).hexdigest()
    if (folder / "made.json").is_file():
        found = json.loads((folder / "made.json").read_text())
        return {key: value for key, value in found.items() if key not in SAME}
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("made*/*")) if p.is_file()} | {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("made*")) if p.is_file()
    }
