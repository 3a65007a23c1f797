"""Trials that break a run at a random moment and look at what is left: `python -m tests.faults --help`.

One process imports the heavy libraries once and forks every trial from there, so that a trial costs
what its run costs. A trial carries out the command itself, `kdst run METHOD …`, in an empty folder,
kills it once or twice, and resumes it; then result, events and artifacts must be those of a run that
nothing disturbed. Every trial prints its seed and is repeated by it.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import frozen

ADAPT = ("--images", "60", "--types", "fog,contrast", "--batch-size", "10")
EDIT = ("--steps", "6")
RUNS: dict[str, tuple[str, ...]] = {
    "source": ADAPT,
    "norm": ADAPT,
    "tea": (*ADAPT, "--sgld-steps", "2", "--buffer-size", "40"),
    "tent": ADAPT,
    "pl": ADAPT,
    "shot": ADAPT,
    "eta": ADAPT,
    "eata": ADAPT,
    "sar": ADAPT,
    "memo": (*ADAPT[:1], "20", *ADAPT[2:]),
    "cotta": ADAPT,
    "roid": ADAPT,
    "cmf": ADAPT,
    "foa": ADAPT,
    "deyo": (*ADAPT, "--tau-ent", "1", "--tau-plpd", "0"),
    "rdumb": ADAPT,
    "lame": ADAPT,
    "rotta": (*ADAPT, "--update-frequency", "20"),
    "santa": ADAPT,
    "tda": ADAPT,
    "zero": (*ADAPT, "--views", "4"),
    "3dgs": (
        *("--width", "48", "--iterations", "40", "--threads", "1", "--flight-frames", "0"),
        *("--score-every", "10"),
    ),
    "p2p": EDIT,
    "pnp": EDIT,
    "masactrl": EDIT,
    "sega": EDIT,
    "flowedit": EDIT,
    "turbo-edit": EDIT,
    "ledits-pp": EDIT,
    "textual-inversion": (*EDIT, "--train-steps", "12"),
    "toolformer": (
        *("--documents", "24", "--shard", "4", "--steps", "6", "--batch", "2"),
        *("--problem-count", "4", "--held-out-count", "4"),
    ),
    "vec2text": ("--count", "4", "--block", "1", "--steps", "2", "--beam", "2", "--no-controls"),
}
"""Every method's run on the embedded default, shortened to seconds."""
EAGER = (
    ("kdst_core.bench.pacing", "Pace.due", lambda *_: True),
    ("kdst_textual_inversion.learn", "KEEP_EVERY", -1.0),
    ("kdst_tools.loop.pace", "SECONDS", -1.0),
)
"""What makes a run keep a checkpoint at every step, so that kills meet many of them."""
VARYING = re.compile(r"second|cost|fps|memory|per_call")
"""Metrics that measure the machine."""
HEAVY = ("kdst_", "torch", "diffusers", "transformers", "numba", "matplotlib", "jinja2", "rich")
"""Packages that are imported before a fork rather than after it."""
ATTEMPTS = 12
"""Runs of one trial, the killed ones included."""


@frozen
class Fault:
    """What ends a run: a kill after some seconds, or at the n-th file operation under its directory."""

    seconds: float | None = None
    operation: int | None = None


class Wrong(AssertionError):
    """What is left of a run is not what it must be."""


def imports(names: Sequence[str]) -> None:
    """Import what an undisturbed run imported, so that later forks have it."""
    for name in names:
        if name.partition(".")[0].startswith(HEAVY):
            with suppress(Exception):
                import_module(name)


def start(words: Sequence[str], folder: Path, fault: Fault, eager: bool) -> int:
    """Fork a process that carries out the command in a folder; return its number."""
    sys.stdout.flush()
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if eager:
            _patch()
        if fault.operation is not None:
            sys.addaudithook(_killer(fault.operation, str(folder)))
        sys.argv = ["kdst", *words]
        from kdst_core.cli import main

        main()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if fault == Fault():
            (folder / "modules.json").write_text(json.dumps(sorted(sys.modules)))
        os._exit(code)


def _patch() -> None:
    """Make runs keep a checkpoint at every step."""
    for module, path, value in EAGER:
        if module in sys.modules:
            *parents, name = path.split(".")
            target: Any = sys.modules[module]
            for parent in parents:
                target = getattr(target, parent)
            setattr(target, name, value)


def _killer(count: int, folder: str) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that kills this process at the n-th change of a file in a folder."""
    left = count

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate"):
            return
        if event == "open" and not _writes(arguments):
            return
        where = str(arguments[0])
        inside = os.path.abspath(where).startswith(folder)
        if where.endswith(("log.txt", "modules.json")) or not inside:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return audit


def _writes(arguments: tuple[Any, ...]) -> bool:
    """Return whether a file is opened for writing."""
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))


def end(number: int, seconds: float | None) -> int:
    """Wait for a process, kill it when its time is over, and return its code, negative for a signal."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(number, os.WNOHANG if deadline is not None else 0)
        if done:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(number, signal.SIGKILL)
            deadline = None
        time.sleep(0.002)


def carry_out(words: Sequence[str], folder: Path, fault: Fault, eager: bool) -> int:
    """Carry out one command that a fault may end."""
    return end(start(words, folder, fault, eager), fault.seconds)


@frozen
class Outcome:
    """What a run left: what must be the same whenever it is repeated."""

    metrics: dict[str, float]
    events: bytes
    artifacts: tuple[str, ...]
    options: dict[str, Any]


def outcome(directory: Path) -> Outcome:
    """Read a finished run; Wrong for one that is not whole."""
    try:
        result = json.loads((directory / "result.json").read_text())
    except (OSError, ValueError) as e:
        raise Wrong(f"result.json is not whole: {e}") from e
    missing = [p for p in result["artifacts"].values() if not (directory / p).stat().st_size]
    if missing:
        raise Wrong(f"empty artifacts: {missing}")
    if not (directory / "report.html").read_text().rstrip().endswith("</html>"):
        raise Wrong("report.html is not whole")
    metrics = {k: v for k, v in result["metrics"].items() if not VARYING.search(k)}
    events = (directory / "events.jsonl").read_bytes()
    return Outcome(metrics, events, tuple(sorted(result["artifacts"])), result["options"])


def leftovers(directory: Path) -> list[str]:
    """Return files that only a run that goes on may have."""
    names = [str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()]
    return [n for n in names if re.search(r"(^|/)\..+\.\d+$|(^|/)\.lock$", n)]


@frozen
class Reference:
    """A run that nothing disturbed: its outcome and its seconds."""

    outcome: Outcome
    seconds: float


def reference(method: str, folder: Path, seed: int) -> Reference:
    """Carry out an undisturbed run, twice: the second time with everything imported, as trials do."""
    seconds = 0.0
    for _ in range(2):
        shutil.rmtree(folder / "r", ignore_errors=True)
        started = time.monotonic()
        code = carry_out(command(method, seed), folder, Fault(), eager=False)
        if code:
            raise Wrong(f"an undisturbed run ends with {code}: {tail(folder)}")
        seconds = time.monotonic() - started
        imports(json.loads((folder / "modules.json").read_text()))
    return Reference(outcome(folder / "r"), seconds)


def command(method: str, seed: int) -> list[str]:
    """Return the words of a run."""
    return ["run", method, *RUNS.get(method, ()), "--seed", str(seed), "--out", "r", "-q"]


def tail(folder: Path) -> str:
    """Return the last lines of what a trial printed."""
    return " / ".join((folder / "log.txt").read_text(errors="replace").splitlines()[-4:])


def kill_trial(method: str, seed: int, expected: Reference) -> int:
    """Kill and resume a run until it is complete; return the kills that met it alive.

    Wrong when a half-written file is taken for a result, when it cannot be resumed, or when what is
    left differs from the undisturbed run.
    """
    rng, kills = random.Random(f"{method} {seed}"), 0
    folder = Path(tempfile.mkdtemp(prefix="kdst-fault-"))
    try:
        for attempt in range(ATTEMPTS):
            fault = _fault(rng, expected.seconds) if attempt < rng.choice((1, 2, 3)) else Fault()
            resume = ["--resume"] if attempt else []
            eager = rng.random() < 0.7
            code = carry_out([*command(method, 0), *resume], folder, fault, eager)
            if code == -signal.SIGKILL:
                kills += 1
                if (folder / "r/result.json").exists():
                    _compare(outcome(folder / "r"), expected.outcome)
                continue
            if code:
                raise Wrong(f"exit code {code}: {tail(folder)}")
            break
        carry_out([*command(method, 0), "--resume"], folder, Fault(), eager=False)
        _compare(outcome(folder / "r"), expected.outcome)
        if left := leftovers(folder / "r"):
            raise Wrong(f"left behind: {left}")
    except Wrong as e:
        raise Wrong(f"{method}, seed {seed}, {folder}: {e}") from e
    shutil.rmtree(folder)
    return kills


def _fault(rng: random.Random, seconds: float) -> Fault:
    """Return a random moment: of time, or of the changes of files, where most can go wrong."""
    if rng.random() < 0.5:
        return Fault(seconds=rng.uniform(0, seconds))
    return Fault(operation=rng.randint(1, 40))


def _compare(found: Outcome, expected: Outcome) -> None:
    """Raise Wrong for the first difference."""
    if found.events != expected.events:
        raise Wrong(f"events: {found.events.count(b'{')} lines, not {expected.events.count(b'{')}")
    if found.metrics != expected.metrics:
        names = [k for k in expected.metrics if found.metrics.get(k) != expected.metrics[k]]
        raise Wrong(f"metrics differ: {names[:5]}")
    if (found.artifacts, found.options) != (expected.artifacts, expected.options):
        raise Wrong("artifacts or options differ")


def trials(methods: Sequence[str], seed: int) -> Iterator[tuple[str, int]]:
    """Yield (method, seed of the trial) without end, every method in turn."""
    while True:
        for method in methods:
            yield method, seed
            seed += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out trials until enough kills are done or the time is over; 1 when one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(RUNS))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3600, help="No trial begins after this.")
    parser.add_argument("--seed", type=int, default=0, help="Of the first trial.")
    given = parser.parse_args(arguments)
    began, kills, done, wrong = time.monotonic(), 0, 0, 0
    references: dict[str, Reference] = {}
    for method, seed in trials(given.methods.split(","), given.seed):
        if kills >= given.kills or time.monotonic() - began > given.seconds:
            break
        try:
            if method not in references:
                with tempfile.TemporaryDirectory() as name:
                    references[method] = reference(method, Path(name), 0)
                print(f"{method}: undisturbed in {references[method].seconds:.1f} s", flush=True)
            met = kill_trial(method, seed, references[method])
            kills, done = kills + met, done + 1
            print(f"seed {seed} {method}: {met} kills, as undisturbed", flush=True)
        except Wrong as e:
            wrong += 1
            print(f"WRONG {e}", flush=True)
    seconds = time.monotonic() - began
    print(f"{kills} kills in {done} trials, {wrong} wrong, {seconds:.0f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
