"""What a method is judged by: out of its reach while it works, and every attempt is told."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kdst_authors import strays
from kdst_authors.testing import given_only
from kdst_core.bench import sealed
from kdst_core.bench.sealed import Refused
from kdst_core.errors import MethodError
from kdst_core.plugins import left, process_state
from kdst_core.plugins.method import Method
from tests import workers

SECRET = b"the labels of the stream"


@pytest.fixture
def method() -> Method:
    """A method without a package, for its calls."""
    plugin: Any = type("P", (), {"qualified": "kdst-made/up", "capability": "adapt"})()
    description: Any = None
    manager: Any = None
    return Method(plugin, description, manager)


def test_no_object_holds_what_is_sealed_in_the_clear() -> None:
    secret = os.urandom(24)  # of this test alone, whatever others left in the process
    kept = sealed.seal(bytes(bytearray(secret)))
    held = [o for o in gc.get_objects() if type(o) in (list, dict, tuple)]
    found = [v for o in held for v in (o.values() if type(o) is dict else o)]
    assert not [v for v in found if type(v) is bytes and v == secret]
    assert kept.read() == secret


def test_a_call_that_reads_what_is_sealed_is_told_even_if_it_swallows_the_refusal(
    method: Method,
) -> None:
    kept = sealed.seal_value(["3", "5"])

    def swallow() -> None:
        with suppress(Refused):
            kept.read()

    with pytest.raises(MethodError, match="looks at what it is judged by"), method.working():
        swallow()
    assert kept.read() == ["3", "5"]


def test_a_call_that_breaks_the_seal_is_told(method: Method) -> None:
    (cell,) = sealed._vault.works.__closure__ or ()
    with pytest.raises(MethodError, match="the seal"), method.working():
        cell.cell_contents.clear()


def test_hidden_files_cannot_be_opened_listed_or_named_to_a_program(
    tmp_path: Path, method: Method
) -> None:
    folder = tmp_path / "data" / "cats"
    folder.mkdir(parents=True)
    file = tmp_path / "labels.npy"
    file.write_bytes(b"1")
    (tmp_path / "link").symlink_to(file)

    def program() -> None:
        subprocess.run(["cat", str(file)], check=False, capture_output=True)

    attempts: list[Any] = [
        file.read_bytes,
        (tmp_path / "link").read_bytes,
        lambda: os.listdir(folder),
        lambda: os.rename(file, tmp_path / "other"),
        program,
    ]
    with sealed.hidden([file, folder]):
        for attempt in attempts:
            with pytest.raises(MethodError, match="judged by"), method.working():
                attempt()
        assert file.read_bytes() == b"1"
        with method.working():
            (tmp_path / "run.log").open("a").close()
    with method.working():
        assert file.read_bytes() == b"1"


def test_what_plugins_read_as_they_load_may_not_be_hidden_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "_early", set())
    file = tmp_path / "labels.npy"
    file.write_bytes(b"1")
    with sealed.loading():
        file.read_bytes()
    with pytest.raises(MethodError, match="while it was loaded"), sealed.hidden([file]):
        pass


def test_a_thread_that_a_call_leaves_ends_the_run(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left, "PATIENCE", 0.05)
    stop = threading.Event()
    with pytest.raises(MethodError, match="leaves the thread spy running"), method.working():
        threading.Thread(target=stop.wait, name="spy", daemon=True).start()
    stop.set()
    with method.working():
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("chain", [False, True])
def test_a_worker_of_a_pool_that_goes_on_ends_the_run_and_one_that_waits_does_not(
    method: Method, monkeypatch: pytest.MonkeyPatch, earlier: bool, chain: bool
) -> None:
    monkeypatch.setattr(left, "PATIENCE", 0.3)
    stop = threading.Event()

    def work() -> None:
        if not chain:
            stop.wait()
        elif not stop.is_set():
            time.sleep(0.001)
            pool.submit(work)

    with ThreadPoolExecutor(2, thread_name_prefix="kdst-pool") as pool:
        try:
            with method.working():
                if earlier:
                    pool.submit(int).result()
            with pytest.raises(MethodError, match="leaves the thread kdst-pool"), method.working():
                pool.submit(work)
        finally:
            stop.set()  # else the pool waits for ever


def test_a_worker_that_sleeps_and_is_not_counted_as_idle_is_no_work(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left, "PATIENCE", 0.3)
    with ThreadPoolExecutor(2, thread_name_prefix="kdst-pool") as pool:
        both = threading.Barrier(2)
        for job in [pool.submit(both.wait) for _ in range(2)]:
            job.result()
        with method.working():
            pool.submit(int).result()
            pool._idle_semaphore.acquire()  # as where a busy worker takes what a sleeping one was counted for
        started = time.monotonic()
        for _ in range(20):
            with method.working():
                pool.submit(int).result()
        assert time.monotonic() - started < 20 * left.PATIENCE / 2
        stop = threading.Event()
        try:
            with pytest.raises(MethodError, match="leaves the thread kdst-pool"), method.working():
                pool.submit(stop.wait)
        finally:
            stop.set()


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_a_process_that_a_call_starts_reads_nothing_sealed(method: Method, kind: str) -> None:
    kept = sealed.seal_value(["3", "5"])
    context: Any = multiprocessing.get_context(kind)

    def ask() -> str:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return str(pool.submit(workers.look, kept if kind == "spawn" else None).result())

    workers.KEPT = kept
    if kind == "spawn":
        with method.working():
            assert ask() == "Refused"
    else:
        with pytest.raises(MethodError, match="in a process that it started"), method.working():
            assert ask() == "Refused"
    assert kept.read() == ["3", "5"]
    with method.working():
        pass


def test_a_copy_holds_nothing_sealed_even_where_the_seal_is_broken() -> None:
    kept = sealed.seal(SECRET)
    with sealed.closed():
        child = os.fork()
        if not child:
            (cell,) = sealed._vault.works.__closure__ or ()
            cell.cell_contents.clear()
            try:
                kept.read()
            except Refused:
                os._exit(3)
            os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert kept.read() == SECRET


@pytest.mark.parametrize(
    ("what", "leave"),
    [
        ("a profiler", lambda: sys.setprofile(lambda *_: None)),
        ("an alarm", lambda: signal.setitimer(signal.ITIMER_REAL, 600)),
        ("sys.addaudithook", lambda: sys.addaudithook(lambda *_: None)),
    ],
)
def test_a_call_that_leaves_something_that_watches_ends_the_run(
    method: Method, what: str, leave: Any
) -> None:
    sealed._listen()
    try:
        with pytest.raises(MethodError, match=what), method.working():
            leave()
    finally:
        sys.setprofile(None)
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_given_only_tells_a_method_that_finds_what_lies_open() -> None:
    def honest(number: int) -> str:
        answers = ["3", "4"][number:]
        return str(type(answers))

    def peeking(number: int) -> str:
        answers = ["3", "4"][number:]
        assert answers

        def look() -> str:
            return str(sys._getframe(1).f_locals["answers"])

        return look()

    given_only(honest, "answers")
    with pytest.raises(AssertionError, match="with other answers it returns something else"):
        given_only(peeking, "answers")


def test_functions_of_others_that_were_replaced_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdst_core import files

    before = process_state.functions()
    assert process_state.replaced(before) == []
    monkeypatch.setattr(files, "claim", lambda *_: None)
    assert process_state.replaced(before) == ["kdst_core.files.claim"]


def test_what_programs_do_to_files_is_seen(tmp_path: Path) -> None:
    scratch = tmp_path / "elsewhere"
    scratch.mkdir()
    own = strays.prepare(tmp_path, scratch)
    places = [scratch, Path(own["HOME"])]
    before, commands = strays.tree(places), strays.Commands()
    named = tmp_path / "named"
    commands.note("subprocess.Popen", ("sh", ["sh", "-c", f"echo 1 > {named}"], None, None))
    script = f"rm {scratch}/notes.txt; mkdir {own['HOME']}/.made; echo 1 > {named}"
    subprocess.run(["sh", "-c", script], check=True)
    found = strays.differences(before, strays.tree(places))
    assert found == [f"{scratch}/notes.txt", f"{own['HOME']}/.made"]
    assert commands.changed() == [str(named)]
