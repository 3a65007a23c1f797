"""What a run needs is said before it starts, and photographs take their bytes and no more."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kdst_core import memory
from kdst_core.contracts import Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.audit import check_room
from kdst_reconstruct.captures.stored import Photographs
from kdst_reconstruct.expected import Speed, announce, duration
from kdst_reconstruct.holdout.choice import subset


@pytest.fixture
def pixels() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(5)]


def test_photographs_are_floats_only_while_they_are_looked_at(pixels: list[np.ndarray]) -> None:
    kept = Photographs(pixels)
    assert len(kept) == 5
    assert torch.equal(kept[3], torch.from_numpy(pixels[3]).float() / 255)
    assert kept[3] is not kept[3]
    assert all(held is given for held, given in zip(kept._pixels, pixels, strict=True))
    assert torch.equal(kept[1:][0], kept[1])
    with pytest.raises(IndexError):
        kept[5]


def test_a_part_of_a_capture_shares_the_bytes(pixels: list[np.ndarray]) -> None:
    whole = Capture(Photographs(pixels), [None] * 5, list("abcde"), None, None, None)  # type: ignore[list-item, arg-type]
    part = subset(whole, [4, 1])
    assert isinstance(part.images, Photographs)
    assert part.images._pixels[0] is pixels[4]
    assert part.names == ["e", "b"]


def test_photographs_that_do_not_fit_are_refused_with_a_width_that_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [(1600, 1200)] * 100
    monkeypatch.setattr(memory, "left", lambda: 8 << 30)
    check_room(sizes, 12_000_000)
    assert not capsys.readouterr().err
    monkeypatch.setattr(memory, "left", lambda: 1 << 30)
    check_room(sizes, 12_000_000)
    assert "100 photographs need 869 MiB" in capsys.readouterr().err
    monkeypatch.setattr(memory, "left", lambda: 1 << 29)
    with pytest.raises(KdstError, match=r"--width \d+ keeps within it") as refused:
        check_room(sizes, 12_000_000)
    width = int(str(refused.value).split("--width ")[1].split()[0])
    assert 4 * 100 * width * width * 3 / 4 < 1 << 29


def test_time_and_memory_are_said_by_the_first_iterations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    growing = SimpleNamespace(foreseen=lambda: (2.0, 1 << 30))
    announce(SimpleNamespace(show="auto"), Speed(20, 2.0), 3000, growing)  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert "about 10 min for 3,000 iterations (10 a second at first)" in said
    assert f"{memory.as_text(memory.peak() + (1 << 30))} of memory" in said
    announce(SimpleNamespace(show="quiet"), Speed(20, 2.0), 3000, growing)  # type: ignore[arg-type]
    assert not capsys.readouterr().err


def test_durations_are_said_as_people_do() -> None:
    said = [duration(s) for s in (0.2, 99, 600, 7 * 3600, 4 * 86400)]
    assert said == ["about 1 s", "about 99 s", "about 10 min", "about 7.0 h", "about 4 days (96 h)"]
