"""Checkpoints of a training are bounded in time and in bytes."""

import pytest
import torch

from kdst_tools.loop import pace
from kdst_tools.loop.pace import LONG, SECONDS, SMALL, Pace, held


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pace, "time", found)
    return found


def written(clock: Clock, steps: int, seconds: float, size: int, writing: float = 0.0) -> list[int]:
    """The steps behind which a training writes its state, a step taking so many seconds."""
    state = {"model": torch.empty(size, dtype=torch.uint8)}
    found, chosen = Pace(steps, written=clock.now), []
    for step in range(1, steps + 1):
        clock.now += seconds
        if found.due(step, state):
            chosen.append(step)
            clock.now += writing
            found.wrote(writing)
    return chosen


def test_a_small_state_is_written_every_few_seconds(clock):
    assert written(clock, 100, SECONDS / 4, 1000) == list(range(5, 100, 5))


def test_a_short_training_of_a_large_model_writes_few_states(clock):
    for seconds in (3.0, 10.0, 40.0):
        assert len(written(clock, 12, seconds, 3 * SMALL)) <= 2


def test_a_long_training_of_a_large_model_goes_on_from_the_last_minutes(clock):
    chosen = written(clock, 10_000, 1.0, 10 * SMALL)
    gaps = [b - a for a, b in zip([0, *chosen], [*chosen, 10_000], strict=True)]
    assert max(gaps) <= LONG + 1
    assert len(chosen) <= 10_000 / LONG + 3


def test_writing_takes_a_twentieth_of_the_time_at_most(clock):
    chosen = written(clock, 5000, 1.0, 1000, writing=4.0)
    assert len(chosen) * 4.0 <= 0.05 * clock.now + 4.0
    assert len(chosen) > 30


def test_all_tensors_of_a_state_count():
    state = {"a": [torch.zeros(3), (torch.zeros(2, dtype=torch.float64), 5)], "b": {"c": "text"}}
    assert held(state) == 12 + 16
