"""What reading costs: memory by the highest resident size of a process of its own, and what is not read at all."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae import UserError, load_dataset
from pyrovae.data import numpy_files
from pyrovae.data.numpy_files import NumpyFile
from pyrovae.system import bounds

RANDOM = np.random.default_rng(5)

MEASURE = """
import resource, sys
import pyrovae, pyrovae.data.arrays
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
pyrovae.load_dataset(sys.argv[1]).record()
before = peak()
dataset = pyrovae.load_dataset(sys.argv[2])
dataset.record()
print(peak() - before)
"""
"""Bytes that the second file takes at the most; the first is small, and loads what is loaded once."""

MIB = 2**20
BESIDE = 40 * MIB
"""What may stand beside the data: some arrays of pieces of 4 MiB (a piece of bytes is 32 MiB as float64), and row numbers."""


def cost(folder: Path, name: str, **arrays: np.ndarray) -> int:
    """Bytes that reading arrays takes at its peak, beyond those of a process that has read a few of them."""
    for start, count in (("small", 4), ("large", None)):
        path = folder / f"{start}-{name}"
        parts = {key: array[:count] for key, array in arrays.items()}
        np.save(path, parts["x"]) if name.endswith(".npy") else np.savez(path, **parts)
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(folder / f"small-{name}"), str(folder / f"large-{name}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return int(done.stdout)


def reals(size: int, dtype: str = "f4") -> np.ndarray:
    return RANDOM.standard_normal((size // np.dtype(dtype).itemsize // 256, 256), np.float32).astype(dtype)


def grey(size: int, top: int = 255) -> np.ndarray:
    return RANDOM.integers(0, top, (size // 256, 256), np.uint8, endpoint=True)


@pytest.mark.parametrize("make", [reals, grey], ids=["float32", "bytes"])
def test_reading_costs_the_data_once(make: Callable[[int], np.ndarray], tmp_path: Path) -> None:
    x = make(96 * MIB)
    assert cost(tmp_path, "x.npy", x=x) < x.nbytes + BESIDE


@pytest.mark.slow
def test_reading_costs_what_the_tensor_needs(tmp_path: Path) -> None:
    """Once where a file holds what is kept; else once as it is in the file, and once as it is kept."""
    full = 192 * MIB
    x = reals(full)
    once = {
        "a.npy": {"x": x},
        "b.npy": {"x": grey(96 * MIB)},
        "c.npy": {"x": grey(96 * MIB, 1)},
        "d.npy": {"x": grey(96 * MIB, 1).astype(bool)},
        "e.npz": {"train": x[: len(x) // 2], "test": x[len(x) // 2 :]},
        "f.npz": {"x": x[:1000], "unused": x},
    }
    for name, arrays in once.items():
        used = sum(array.nbytes for key, array in arrays.items() if key != "unused")
        assert cost(tmp_path, name, **arrays) < used + BESIDE, name
    narrow = x.astype(np.float64)  # float32 holds these, and is what is kept
    twice = {"g.npy": (narrow, 1.5), "h.npy": (grey(48 * MIB).astype(np.int64), 1.5), "i.npy": (np.asfortranarray(x), 2)}
    for name, (array, times) in twice.items():
        assert cost(tmp_path, name, x=array) < times * array.nbytes + BESIDE, name


# --- headers first -------------------------------------------------------------------------------------------------------


def archive_with_claims(path: Path, shape: tuple[int, ...], dtype: str, content: int) -> None:
    """An archive whose array has that many zero bytes in a few kilobytes, under a header that claims a shape."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(header.getvalue())
        for _ in range(content // MIB):
            member.write(bytes(MIB))


def test_an_archive_that_grows_beyond_the_memory_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MB of zeros in 64 kB, on a machine with 50 MB."""
    archive_with_claims(tmp_path / "x.npz", (2**14, 2**10), "<f4", 64 * MIB)
    assert (tmp_path / "x.npz").stat().st_size < MIB / 8
    monkeypatch.setattr(bounds, "free_memory", lambda: 50_000_000)
    with pytest.raises(UserError, match=r"x\.npz: x needs 0\.1 GB of memory, and 0\.1 GB are free; give fewer data"):
        load_dataset(tmp_path / "x.npz")


@pytest.mark.parametrize("more", [0, MIB], ids=["an honest archive", "a header that promises more"])
def test_a_header_may_not_promise_more_than_there_is(more: int, tmp_path: Path) -> None:
    archive_with_claims(tmp_path / "x.npz", ((8 * MIB + more) // 1024, 1024), "|u1", 8 * MIB)
    if more:
        with pytest.raises(UserError, match="8388608 bytes of numbers, and its header promises 9437184"):
            load_dataset(tmp_path / "x.npz")
    else:
        assert load_dataset(tmp_path / "x.npz").x.shape == (8192, 1024)


def test_arrays_that_are_not_used_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their numbers nor what stands in their place."""
    np.savez(tmp_path / "x.npz", x=reals(MIB), big=np.zeros(64 * MIB, np.uint8), objects=np.array([{}], object))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("readme.txt", "no array")
    monkeypatch.setattr(bounds, "free_memory", lambda: 20 * MIB)
    with pytest.warns(UserWarning, match=r"not used: big, objects, readme\.txt$"):
        assert load_dataset(tmp_path / "x.npz").x.shape == (1024, 256)


def test_the_numbers_are_those_that_numpy_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types, byte orders, storage orders and shapes, each read into its place among the others, a few bytes at a time."""
    monkeypatch.setattr(numpy_files, "CHUNK", 50)
    for dtype in ("?", "u1", "<i2", ">i2", "<u4", ">f4", "<f8", ">f8", "f2"):
        for shape in ((7, 3), (5, 2, 3), (4, 1)):
            x = (RANDOM.random(shape) * 100).astype(dtype)
            for array in (x, np.asfortranarray(x), np.concatenate([x, x])[::2]):
                np.savez_compressed(tmp_path / "x.npz", a=array, b=x)
                file = NumpyFile(tmp_path / "x.npz")
                np.testing.assert_array_equal(file.read(["a"]), array)
                np.testing.assert_array_equal(file.read(["b", "a"]), np.concatenate([x, array]))
    np.savez(tmp_path / "y.npz", text=np.array(["é", "abc"]), number=np.array(3), empty=np.zeros((0, 2)))
    file = NumpyFile(tmp_path / "y.npz")
    assert file.read(["text"]).tolist() == ["é", "abc"]
    assert file.read(["number"]) == 3
    assert file.read(["empty"]).shape == (0, 2)


def test_pipes_and_devices_are_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    (tmp_path / "y.npz").symlink_to("/dev/zero")
    for name in ("x.npy", "y.npz"):
        with pytest.raises(UserError, match=rf"{name}: cannot be read as a NumPy file \(no regular file\)"):
            load_dataset(tmp_path / name)
    (tmp_path / "pictures").mkdir()
    os.mkfifo(tmp_path / "pictures" / "a.png")
    with pytest.raises(UserError, match="has 0 pictures"):
        load_dataset(tmp_path / "pictures")


def test_a_shortage_of_memory_is_called_so(tmp_path: Path) -> None:
    """An allocation that fails, and pictures that would not fit: neither is a damaged file."""
    x = reals(MIB)
    np.save(tmp_path / "x.npy", x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "empty", lambda *given: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(UserError, match=r"x\.npy: x needs 0\.0 GB of memory, more than there is; give fewer data"):
            load_dataset(tmp_path / "x.npy")
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (100, 100)).save(tmp_path / "pictures" / f"{name}.png")
    with pytest.raises(
        UserError,
        match=r"array of 2 pictures needs 600000\.0 GB of memory, and .* free; give fewer, or smaller ones by data\.size",
    ):
        load_dataset({"name": str(tmp_path / "pictures"), "size": 10**7})
