"""Blocks that workers invert give the file of one process, byte for byte, whatever ends a worker."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attrs import evolve, frozen

from kdst_authors.testing import make_run
from kdst_batch.executors import ONE_CPU
from kdst_batch.testing import BackwardExecutor
from kdst_core.errors import KdstError
from kdst_core.runs.codecs import JsonCodec
from kdst_invert.distribute import Workers, workers_for
from kdst_invert.inputs import InvertInputs
from kdst_invert.loop import Attacker

TEXTS = [f"note {i} says {'much ' * (i % 3)}of person {i}" for i in range(10)]


@frozen
class Options:
    """Options of the stand-in."""

    level: int = 1


OPTIONS = Options()


def attacker(directory: Path, method: Any, place: Any = None) -> Attacker:
    """An attacker that a stand-in for a method serves, with blocks of three rows."""
    call = SimpleNamespace(
        call=lambda request, options, run: method.invert(request),
        plugin=SimpleNamespace(qualified="kdst-test/oracle"),
        working=nullcontext,
    )
    run = make_run(directory, codec=JsonCodec())
    workers = place and Workers(place, "kdst-test/oracle", InvertInputs(), "cpu", 0)
    return Attacker(call, SimpleNamespace(), run, 3, workers)  # type: ignore[arg-type]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, oracle: Any) -> Any:
    """A function from executors to the place that has them in turn; workers load the stand-in."""
    method = oracle(TEXTS)
    loaded = SimpleNamespace(
        call=lambda request, options, run: method.invert(request), working=nullcontext
    )
    monkeypatch.setattr("kdst_core.plugins.method.load", lambda _name: loaded)
    monkeypatch.setattr("kdst_invert.embedders.choose.choose", lambda *_: SimpleNamespace())

    def place(*executors: BackwardExecutor) -> Any:
        left = iter(executors)
        return SimpleNamespace(make=lambda: next(left), resources=ONE_CPU)

    return place


def test_workers_write_the_file_of_one_process(tmp_path: Path, oracle: Any, elsewhere: Any) -> None:
    vectors = torch.randn(10, 4)
    one = attacker(tmp_path / "a", oracle(TEXTS)).invert("x", vectors, OPTIONS, "x")
    two = attacker(tmp_path / "b", None, elsewhere(BackwardExecutor())).invert(
        "x", vectors, OPTIONS, "x"
    )
    assert one.file.read_bytes() == two.file.read_bytes()
    for name in ("calls", "steps", "longest", "notes", "tokeniser"):
        assert getattr(one.state, name) == getattr(two.state, name), name
    assert not (tmp_path / "b" / "x.parts").exists()


def test_workers_that_are_stopped_lose_no_block_that_was_done(
    tmp_path: Path, oracle: Any, elsewhere: Any
) -> None:
    vectors = torch.randn(10, 4)
    one = attacker(tmp_path / "a", oracle(TEXTS)).invert("x", vectors, OPTIONS, "x")
    place = elsewhere(BackwardExecutor(die_at=2), BackwardExecutor())
    with pytest.raises(KeyboardInterrupt):
        attacker(tmp_path / "b", None, place).invert("x", vectors, OPTIONS, "x")
    parts = sorted((tmp_path / "b" / "x.parts").glob("part-*"))
    assert [p.name for p in parts] == ["part-00000002.jsonl", "part-00000003.jsonl"]
    two = attacker(tmp_path / "b", None, place).invert("x", vectors, OPTIONS, "x")
    assert one.file.read_bytes() == two.file.read_bytes()


def test_workers_go_on_where_one_process_stopped(
    tmp_path: Path, oracle: Any, elsewhere: Any
) -> None:
    vectors = torch.randn(10, 4)
    one = attacker(tmp_path / "a", oracle(TEXTS)).invert("x", vectors, OPTIONS, "x")
    with pytest.raises(KeyboardInterrupt):
        attacker(tmp_path / "b", oracle(TEXTS, fail_at=6)).invert("x", vectors, OPTIONS, "x")
    two = attacker(tmp_path / "b", None, elsewhere(BackwardExecutor())).invert(
        "x", vectors, OPTIONS, "x"
    )
    assert one.file.read_bytes() == two.file.read_bytes()
    assert one.state.calls == two.state.calls


def test_other_vectors_in_the_same_directory_are_refused(tmp_path: Path, elsewhere: Any) -> None:
    place = elsewhere(BackwardExecutor(die_at=2), BackwardExecutor())
    with pytest.raises(KeyboardInterrupt):
        attacker(tmp_path, None, place).invert("x", torch.zeros(10, 4), OPTIONS, "x")
    with pytest.raises(KdstError, match="records of another input"):
        attacker(tmp_path, None, place).invert("x", torch.ones(10, 4), OPTIONS, "x")


def test_an_endpoint_and_a_live_embedder_cannot_be_spread(hash_embedder: Any) -> None:
    for inputs, objects in (
        (InvertInputs(jobs=2), {"embedder": hash_embedder}),
        (InvertInputs(jobs=2, embedder="endpoint"), {}),
    ):
        job = SimpleNamespace(inputs=inputs, objects=objects)
        with pytest.raises(KdstError, match="workers load the embedder themselves"):
            workers_for(job, "cpu", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "rows", "threads", "workers"),
    [
        ({}, 256, "", 3),
        ({}, 256, "2", 2),
        ({}, 255, "", 0),
        ({}, 256, "1", 0),
        ({"jobs": 1}, 500, "", 0),
        ({"jobs": 2}, 3, "", 2),
        ({"study": "search"}, 500, "", 0),
        ({"embedder": "endpoint"}, 500, "", 0),
    ],
)
def test_many_texts_have_a_worker_a_cpu_unless_options_say_otherwise(
    monkeypatch: pytest.MonkeyPatch, changes: Any, rows: int, threads: str, workers: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    plugin = SimpleNamespace(qualified="kdst-test/oracle")
    job = SimpleNamespace(
        inputs=InvertInputs(**changes), objects={}, method=SimpleNamespace(plugin=plugin), seed=0
    )
    found = workers_for(job, "cpu", rows)  # type: ignore[arg-type]
    assert (found.place.jobs if found else 0) == workers
    assert found is None or found.asked == ("jobs" in changes)
    assert workers_for(job, "cuda", rows) is None or "jobs" in changes  # type: ignore[arg-type]


def test_light_work_stays_here_unless_workers_were_asked_for(
    tmp_path: Path, oracle: Any, elsewhere: Any
) -> None:
    used = []

    class Counted(BackwardExecutor):
        def map_records(self, *given: Any) -> Any:
            used.append(1)
            return super().map_records(*given)

    for asked in (True, False):
        found = attacker(tmp_path / str(asked), oracle(TEXTS), elsewhere(Counted()))
        assert found.workers is not None
        found.workers = evolve(found.workers, asked=asked)
        found.invert("x", torch.randn(10, 4), OPTIONS, "x", light=True)
    assert len(used) == 1
