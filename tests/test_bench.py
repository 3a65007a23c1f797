"""What the core gives to benches: pace of checkpoints, artifacts for reports, the choice of a device."""

import json
from pathlib import Path

import pytest

from kdst_core import KdstError
from kdst_core.bench import device
from kdst_core.bench.pacing import Pace
from kdst_show.artifacts import Artifacts


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_checkpoint_is_due_after_its_seconds() -> None:
    clock = Clock()
    pace = Pace(2.0, now=clock)
    clock.time += 2.0
    assert not pace.due()
    clock.time += 0.1
    assert pace.due()
    assert not pace.due(seconds=10.0)


def test_dear_checkpoints_take_a_twentieth_of_the_time() -> None:
    clock = Clock()
    pace = Pace(2.0, now=clock)
    pace.write(lambda: setattr(clock, "time", clock.time + 3.0))
    clock.time += 59.0
    assert not pace.due()
    clock.time += 2.0
    assert pace.due()
    pace.write(lambda: None)
    clock.time += 2.1
    assert pace.due()


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/a.json").write_text(json.dumps({"text": "ä"}), encoding="utf-8")
    (tmp_path / "artifacts/b.jsonl").write_text("[1]\n\n[2]\n")
    (tmp_path / "artifacts/broken.json").write_text("{")
    (tmp_path / "artifacts/picture.png").write_bytes(b"\xff\xd8")
    names = ("a.json", "b.jsonl", "broken.json", "picture.png", "gone.json")
    return Artifacts({"artifacts": {n: f"artifacts/{n}" for n in names}}, tmp_path)


def test_artifacts_are_read_as_what_they_are(artifacts: Artifacts) -> None:
    assert "a.json" in artifacts
    assert "c.json" not in artifacts
    assert artifacts.json("a.json") == {"text": "ä"}
    assert list(artifacts.lines("b.jsonl")) == [[1], [2]]
    assert artifacts.bytes("picture.png") == b"\xff\xd8"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("gone.json", "bytes"),
        ("gone.json", "json"),
        ("broken.json", "json"),
        ("picture.png", "text"),
    ],
)
def test_an_artifact_that_cannot_be_read_is_one_line(
    artifacts: Artifacts, name: str, read: str
) -> None:
    with pytest.raises(KdstError, match=f"{name}, which the report needs") as caught:
        getattr(artifacts, read)(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "needs", "small", "cuda", "chosen"),
    [
        ("auto", (), False, False, "cpu"),
        ("auto", (), False, True, "cuda"),
        ("auto", (), True, True, "cpu"),
        ("auto", ("cuda",), True, False, "cuda"),
        ("cuda:1", (), True, False, "cuda:1"),
        ("cpu", ("cuda",), False, True, "cpu"),
    ],
)
def test_a_device_is_chosen_by_what_is_asked_and_needed(
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    needs: tuple[str, ...],
    small: bool,
    cuda: bool,
    chosen: str,
) -> None:
    monkeypatch.setattr(device, "has_cuda", lambda: cuda)
    monkeypatch.setattr(device, "usable", lambda name: name)
    assert device.choose(asked, needs, small=small) == chosen
