"""On Ray, runs and records are those of one machine; every test but the last starts a local cluster."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from attrs import frozen

import kdst_ray
from kdst_batch.executors import Executor, Resources
from kdst_batch.executors.named import make
from kdst_batch.executors.records import cut, read_records, run_records
from kdst_batch.sweep import sweep
from kdst_core.errors import KdstError, MethodError

DOCUMENTS = [{"id": n, "text": f"{n} and {n + 1} are {2 * n + 1}"} for n in range(5000)]


@frozen
class Annotating:
    """A factory of workers that sample, execute and filter calls; it notes the processes it is in."""

    folder: str
    pace: float = 0.0
    poison: int = -1

    def __call__(self) -> Callable[[Any], list[dict[str, Any]]]:
        """Return the function of one worker."""
        Path(self.folder, f"worker-{os.getpid()}").touch()
        return self.annotate

    def annotate(self, documents: Any) -> list[dict[str, Any]]:
        """Return the documents with a call that pays."""
        time.sleep(self.pace)
        return [found for d in documents if (found := self.one(d)) is not None]

    def one(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Sample numbers of a text, execute their sum, and keep it where it pays."""
        number = int(document["id"])
        if number == self.poison:
            raise ValueError("poison")
        sampled = [int(w) for w in document["text"].split() if w.isdigit()]
        executed = sum(sampled)
        gain = (executed * 7919 % 1000) / 1000
        return {"id": number, "call": executed, "gain": gain} if gain > 0.4 else None


def square(job: int) -> int:
    """Return a square."""
    return job * job


def odd_fails(job: int) -> int:
    """Raise for odd numbers."""
    if job % 2:
        raise ValueError(f"{job} is odd")
    return job


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    """A local cluster with two workers."""
    import sys

    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    executor = make("ray", 2)
    yield executor
    executor.close()


@pytest.mark.slow
def test_every_job_ends_once_and_errors_are_told(cluster: Executor) -> None:
    ends = list(cluster.map_jobs(square, range(40)))
    assert sorted((e.index, e.value) for e in ends) == [(n, n * n) for n in range(40)]
    failed = {e.index: e.error for e in cluster.map_jobs(odd_fails, range(4), Resources(0.5))}
    assert [bool(failed[n]) for n in range(4)] == [False, True, False, True]
    assert "ValueError: 3 is odd" in failed[3]


@pytest.mark.slow
def test_5000_documents_equal_one_process_though_a_worker_is_killed(
    cluster: Executor, tmp_path: Path
) -> None:
    expected = Annotating(str(tmp_path)).annotate(DOCUMENTS)
    work, out = Annotating(str(tmp_path), pace=0.05), tmp_path / "out"
    killed: list[int] = []
    Thread(target=_kill_one, args=(tmp_path, out, killed), daemon=True).start()
    written = run_records(cluster, work, cut(DOCUMENTS, 32), out, identity="a")
    assert killed
    assert (written.records, written.parts) == (len(expected), 157)
    assert list(read_records(out, "a")) == expected
    one = tmp_path / "one"
    run_records(
        make("processes", 1), Annotating(str(tmp_path)), cut(DOCUMENTS, 32), one, identity="a"
    )
    assert [p.read_bytes() for p in sorted(out.glob("part-*"))] == [
        p.read_bytes() for p in sorted(one.glob("part-*"))
    ]


def _kill_one(folder: Path, out: Path, killed: list[int]) -> None:
    """Kill a worker once some parts are there and others are not."""
    while len(list(out.glob("part-*"))) < 30:
        time.sleep(0.02)
    number = int(next(iter(folder.glob("worker-*"))).name.removeprefix("worker-"))
    os.kill(number, signal.SIGKILL)
    killed.append(number)


@pytest.mark.slow
def test_a_failing_shard_is_told_and_the_others_are_kept(cluster: Executor, tmp_path: Path) -> None:
    work, out = Annotating(str(tmp_path), poison=100), tmp_path / "out"
    with pytest.raises(MethodError, match="ValueError: poison"):
        run_records(cluster, work, cut(DOCUMENTS[:128], 32), out, identity="a")
    again = run_records(
        cluster, Annotating(str(tmp_path)), cut(DOCUMENTS[:128], 32), out, identity="a"
    )
    assert again.parts == 4


SWEEP = """
methods = ["norm", "tent", "sar"]
seeds = [0, 1]
[options]
images = 60
batch_size = 20
[grid]
types = ["fog", "contrast", "pixelate", "gaussian_noise"]
"""


@pytest.mark.slow
def test_a_sweep_on_ray_has_the_metrics_of_processes(cluster: Executor, tmp_path: Path) -> None:
    pytest.importorskip("kdst_adapt")
    (tmp_path / "s.toml").write_text(SWEEP)
    found = {}
    for name in ("processes", "ray"):
        done = sweep(tmp_path / "s.toml", runs=tmp_path / name, jobs=2, executor=name)
        assert not done.failures
        results = (tmp_path / name).glob("*/result.json")
        found[name] = {p.parent.name: _measured(json.loads(p.read_text())) for p in results}
    assert len(found["ray"]) == 24
    assert found["ray"] == found["processes"]


def _measured(result: dict[str, Any]) -> dict[str, float]:
    """Return the metrics that do not measure the machine."""
    return {k: v for k, v in result["metrics"].items() if "second" not in k and "cost" not in k}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "no.such.host.:6379"])
def test_a_cluster_that_does_not_answer_is_named_at_once(address: str) -> None:
    executor = kdst_ray.RayExecutor(1, address)
    with (
        pytest.raises(KdstError, match=f"cannot reach the Ray cluster at {address}: "),
        closing(executor),
    ):
        list(executor.map_jobs(square, [1]))


def test_the_entry_imports_no_ray() -> None:
    import subprocess
    import sys

    code = "import sys, kdst_ray; print('ray' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
