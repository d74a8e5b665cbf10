"""Data measured some at a time, by number and by time, where the memory suffices and where it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyrovae import UserError
from pyrovae.evidence import pieces
from pyrovae.evidence.pieces import Pieces, in_chunks, joined
from pyrovae.evidence.resumable import in_pieces


class Machine:
    """Measures rows, so many at a time at the most, and notes which it was asked for; a datum takes some seconds of its clock."""

    def __init__(self, room: int = 10**9, seconds: float = 0.0) -> None:
        self.room, self.seconds, self.now = room, seconds, 0.0
        self.asked: list[tuple[int, int]] = []

    def __call__(self, part: slice) -> dict[str, Tensor]:
        self.asked.append((part.start, part.stop))
        count = part.stop - part.start
        if count > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        self.now += count * self.seconds
        return {"row": torch.arange(part.start, part.stop)}

    @property
    def sizes(self) -> list[int]:
        return [stop - start for start, stop in self.asked]


BY_TIME: Callable[[Machine, int], dict[str, Tensor]] = lambda machine, n: joined(Pieces(machine, n))  # noqa: E731
RESUMABLE: Callable[[Machine, int], dict[str, Tensor]] = lambda machine, n: in_pieces(machine, n, None, "")  # noqa: E731
BY_NUMBER: Callable[[Machine, int], dict[str, Tensor]] = lambda machine, n: in_chunks(machine, n, 50)  # noqa: E731


@pytest.mark.parametrize("way", [BY_TIME, RESUMABLE, BY_NUMBER])
@pytest.mark.parametrize("room", [10**9, 64, 7, 1])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 100, 333])
def test_every_datum_is_measured_once_whatever_fits(way, room, n):
    machine = Machine(room)
    assert way(machine, n)["row"].tolist() == list(range(n))
    done = [size for size in machine.sizes if size <= room]
    assert sum(done) == n


def test_what_did_not_fit_is_halved_and_never_tried_again():
    machine = Machine(room=20)
    in_chunks(machine, 100, 64)
    assert machine.sizes == [64, 32, 16, 16, 16, 16, 16, 16, 4]
    machine = Machine(room=20)
    joined(Pieces(machine, 100))
    assert machine.sizes == [16, 32, 16, 16, 16, 16, 16, 4]


def test_pieces_grow_to_some_seconds_and_shrink_again(monkeypatch):
    machine = Machine(seconds=1 / 128)
    monkeypatch.setattr(pieces.time, "perf_counter", lambda: machine.now)
    for found in Pieces(machine, 2000):
        if machine.asked[-1][1] > 900:
            machine.seconds = 1 / 8
        assert len(found["row"]) <= 512
    # 4 seconds are 512 data at 1/128 s each, reached by doubling, and 32 at 1/8 s.
    assert machine.sizes[:8] == [16, 32, 64, 128, 256, 512, 512, 32]
    assert set(machine.sizes[7:-1]) == {32}


def test_a_slow_estimator_never_has_fewer_than_fill_its_products(monkeypatch):
    machine = Machine(seconds=100.0)
    monkeypatch.setattr(pieces.time, "perf_counter", lambda: machine.now)
    joined(Pieces(machine, 64))
    assert machine.sizes == [pieces.FIRST] * 4


@pytest.mark.parametrize("way", [BY_TIME, RESUMABLE, BY_NUMBER])
def test_a_datum_that_does_not_fit_is_refused_with_a_remedy(way):
    with pytest.raises(UserError, match=r"one datum does not fit the memory; use device='cpu', fewer samples or chains"):
        way(Machine(room=0), 9)


@pytest.mark.parametrize("way", [BY_TIME, RESUMABLE, BY_NUMBER])
def test_other_errors_are_not_swallowed(way):
    def broken(part: slice) -> dict[str, Tensor]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        way(broken, 9)


def test_an_evaluation_goes_on_where_it_stopped():
    machine = Machine()
    found = list(Pieces(machine, 50, done=30))
    assert machine.asked[0][0] == 30
    assert joined(found)["row"].tolist() == list(range(30, 50))
