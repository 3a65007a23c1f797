"""Executors: every call ends once, in workers that die with their parent, and records are written once."""

import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_batch.executors.manifest import MANIFEST, Manifest, Part, read_parts
from kdst_batch.executors.named import make
from kdst_batch.executors.records import COMPLETE, Shard, cut, read_records, run_records
from kdst_core.errors import KdstError, MethodError
from tests import workers
from tests.fakes import kdst

DOCUMENTS = [{"id": n} for n in range(200)]


def test_every_job_ends_once_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    ends = list(make("processes", 2).map_jobs(workers.square, range(9)))
    assert sorted((e.index, e.value) for e in ends) == [(n, n * n) for n in range(9)]
    assert not any(e.error for e in ends)
    assert capfd.readouterr().out == ""


def test_an_exception_is_told_and_ends_no_other_job() -> None:
    ends = {e.index: e for e in make("processes", 2).map_jobs(workers.fail, range(4))}
    assert [ends[n].value for n in (0, 2)] == [0, 2]
    assert "ValueError: 3 is odd" in ends[3].error


def test_workers_share_the_cpus_and_are_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ends = list(make("processes", 2).map_jobs(workers.about_me, range(4)))
    assert os.getpid() not in {e.value[0] for e in ends}
    assert {e.value[1] for e in ends} == {"1"}


def test_a_worker_that_keeps_a_large_model_is_well_and_goes_on() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ends = list(make("processes", 1).map_jobs(workers.keep, [0, 400, 0]))
    assert len({e.value for e in ends}) == 1
    assert [str(w.message) for w in told if "worker" in str(w.message)] == []


def test_a_job_whose_worker_dies_is_done_again(tmp_path: Path) -> None:
    work = workers.DieOnce(str(tmp_path), 3)
    ends = list(make("processes", 2).map_jobs(work, range(6)))
    assert sorted(e.value for e in ends) == list(range(6))
    assert (tmp_path / "died").exists()


def test_a_job_that_kills_every_worker_is_an_error_of_its_own() -> None:
    (end,) = make("processes", 1).map_jobs(workers.die, [0])
    assert end.error == "the worker process died 2 times (exit code 9)"


@pytest.mark.parametrize(
    ("sign", "said"),
    [(signal.SIGSEGV, "(SIGSEGV)"), (signal.SIGKILL, "(SIGKILL, as when memory runs out)")],
)
def test_a_signal_that_ends_a_worker_is_named(sign: signal.Signals, said: str) -> None:
    ends = {e.index: e for e in make("processes", 1).map_jobs(workers.end_by, [int(sign), 0])}
    assert ends[0].error == f"the worker process died 2 times {said}"
    assert (ends[1].value, ends[1].error) == (0, "")


def test_a_job_that_asks_its_process_to_end_is_an_error_of_its_own() -> None:
    ends = {e.index: e for e in make("processes", 1).map_jobs(workers.leave, [SystemExit, int])}
    assert ends[0].error.splitlines()[-1] == "SystemExit: 0"
    assert ends[1].value == 0


def test_workers_end_when_the_caller_stops_listening() -> None:
    started = time.monotonic()
    with closing(make("processes", 2).map_jobs(workers.sleep, [0.0, 300.0])) as calls:
        assert next(calls).value == 0.0
    assert time.monotonic() - started < 200


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from kdst_batch.executors.named import make\nfrom tests import workers\n"
        "print(next(make('processes', 2).map_jobs(workers.about_me, [0])), flush=True)\n"
        "list(make('processes', 2).map_jobs(workers.sleep, [600.0, 600.0]))\n"
    )
    command = [sys.executable, "-c", code]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    parent.stdout.readline()
    deadline = time.monotonic() + 200
    while len(_children(parent.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    children = _children(parent.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while any(Path(f"/proc/{c}").exists() for c in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children
    assert not any(Path(f"/proc/{c}").exists() for c in children)


def _children(parent: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        pytest.skip("needs /proc")
    return [int(word) for word in text.split()]


def test_records_are_written_once_each_and_reused(tmp_path: Path) -> None:
    work = workers.Pipeline(str(tmp_path))
    out, shards = tmp_path / "out", list(cut(DOCUMENTS, 16))
    first = run_records(make("processes", 2), work, shards, out, identity="a")
    assert (first.parts, first.reused) == (13, 0)
    expected = work.annotate(DOCUMENTS)
    assert list(read_records(out, "a")) == expected
    assert len(list(tmp_path.glob("made-*"))) <= 2
    again = run_records(make("processes", 1), work, shards, out, identity="a")
    assert (again.records, again.reused) == (len(expected), 13)
    assert list(read_records(out, "a")) == expected


def test_a_worker_that_dies_changes_no_record(tmp_path: Path) -> None:
    work = workers.Pipeline(str(tmp_path), dies=77)
    out = tmp_path / "out"
    run_records(make("processes", 2), work, cut(DOCUMENTS, 16), out, identity="a")
    assert (tmp_path / "died").exists()
    assert list(read_records(out, "a")) == work.annotate(DOCUMENTS)
    assert not list(out.glob(".part*"))


def test_a_failing_shard_keeps_the_others_and_is_told(tmp_path: Path) -> None:
    shards = [Shard(n, [{"id": n if n < 3 else "x"}]) for n in range(4)]
    work = workers.Pipeline(str(tmp_path))
    with pytest.raises(MethodError, match="invalid literal for int"):
        run_records(make("processes", 1), work, shards, tmp_path / "out", identity="a")
    assert sorted(read_parts(tmp_path / "out", "a")) == [0, 1, 2]
    assert not (tmp_path / "out" / COMPLETE).exists()
    with pytest.raises(KdstError, match="is not complete"):
        list(read_records(tmp_path / "out", "a"))


def test_other_options_another_input_and_damage_are_refused(tmp_path: Path) -> None:
    work, out = workers.Pipeline(str(tmp_path)), tmp_path / "out"
    executor = make("processes", 1)
    run_records(executor, work, cut(DOCUMENTS[:32], 16), out, identity="a")
    with pytest.raises(KdstError, match="of another input or of other options"):
        run_records(executor, work, cut(DOCUMENTS[:32], 16), out, identity="b")
    with pytest.raises(KdstError, match="input of shard 0 is not what it was"):
        run_records(executor, work, cut(DOCUMENTS[1:], 16), out, identity="a")
    with pytest.raises(KdstError, match="holds 2 parts, and the input has 1"):
        run_records(executor, work, cut(DOCUMENTS[:16], 16), out, identity="a")
    part = out / "part-00000001.jsonl"
    part.write_bytes(part.read_bytes().replace(b"1", b"2"))
    with pytest.raises(KdstError, match="is not what was written"):
        list(read_records(out, "a"))
    part.unlink()
    run_records(executor, work, cut(DOCUMENTS[:32], 16), out, identity="a")
    assert list(read_records(out, "a")) == work.annotate(DOCUMENTS[:32])


@given(st.integers(0, 600))
@settings(max_examples=40, deadline=None)
def test_a_manifest_cut_anywhere_lists_whole_parts_only(length: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Manifest(folder, "a") as manifest:
            for n in range(4):
                manifest.add(Part(n, "s", 1, 2, "d"))
        whole = (folder / MANIFEST).read_bytes()
        (folder / MANIFEST).write_bytes(whole[:length])
        kept = max(0, whole[:length].count(b"\n") - 1)
        assert sorted(read_parts(folder, "a")) == list(range(kept))
        with Manifest(folder, "a") as manifest:
            manifest.add(Part(9, "s", 1, 2, "d"))
        assert sorted(read_parts(folder, "a")) == [*range(kept), 9]


def test_two_processes_cannot_write_one_directory(tmp_path: Path) -> None:
    from kdst_core.files import claim, give_back

    lock = claim(tmp_path)
    work = workers.Pipeline(str(tmp_path))
    with pytest.raises(KdstError, match="another process is running"):
        run_records(make("processes", 1), work, cut(DOCUMENTS, 16), tmp_path, identity="a")
    give_back(lock)


def test_an_executor_that_is_not_installed_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdst_core.plugins import registry

    monkeypatch.setattr(registry, "entry_points", lambda *_, **__: [])
    with pytest.raises(KdstError, match="'ray' is not installed\\.\nInstall it: pip install"):
        make("ray", 2)
    with pytest.raises(KdstError, match="Did you mean 'processes'"):
        make("proceses", 2)
    with pytest.raises(KdstError, match="--address is of a cluster"):
        make("processes", 2, "auto")


def test_shards_are_numbered_and_digested_by_content() -> None:
    shards = list(cut(range(5), 2))
    assert [s.content for s in shards] == [[0, 1], [2, 3], [4]]
    assert shards[0].digest == Shard(7, [0, 1]).digest != shards[1].digest


@pytest.mark.plugins
def test_help_names_executors_and_observers() -> None:
    assert "--executor" in kdst("compare", "--help").stdout
    assert "--observe" in kdst("run", "tent", "--help").stdout
