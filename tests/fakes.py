"""Fake installed packages: metadata and modules written into a folder that goes on sys.path."""

import os
import signal
import subprocess
import sys
from pathlib import Path

GOOD = '''
"""A method for tests."""
from attrs import frozen
from kdst_core import Description, hookimpl, option

@frozen
class Options:
    level: int = option(3, "A level.", min=0)

@hookimpl
def describe():
    return Description(summary="A method for tests.", options=Options)

@hookimpl
def {hook}(request, options, run):
    {body}
'''


def install(
    folder: Path,
    package: str,
    *,
    name: str,
    module: str,
    code: str | None,
    requires: str = "kdst-core>=0.1,<0.2",
) -> None:
    """Write a package's metadata with one `kdst.adapt` entry point, and its module unless None."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nSummary: Fake.\n"
    (info / "METADATA").write_text(metadata + f"Requires-Dist: {requires}\n")
    (info / "entry_points.txt").write_text(f"[kdst.adapt]\n{name} = {module}\n")
    if code is not None:
        (folder / f"{module}.py").write_text(code)


ALONE = '''
"""Hides every package but those whose names begin with one of a few words."""
import importlib.metadata as metadata

everything = metadata.distributions
metadata.distributions = lambda **kw: (d for d in everything(**kw) if d.name.startswith(KEPT))
'''


def hide_others(folder: Path, *kept: str) -> None:
    """Let Python processes with this folder on their path find fake packages only, and those kept."""
    (folder / "sitecustomize.py").write_text(ALONE.replace("KEPT", repr(("fake", *kept))))


def faulty(folder: Path) -> None:
    """Install five faulty plugins."""
    ok = GOOD.format(hook="adapt", body="return object()")
    install(
        folder, "kdst-broken", name="broken", module="fake_broken", code="import no_such_module"
    )
    install(folder, "kdst-other-tea", name="tea", module="fake_tea", code=ok)
    install(
        folder, "kdst-new", name="new", module="fake_new", code=ok, requires="kdst-core>=99,<100"
    )
    misspelt = GOOD.format(hook="adpat", body="return object()")
    install(folder, "kdst-misspelt", name="misspelt", module="fake_misspelt", code=misspelt)
    nothing = GOOD.format(hook="adapt", body="return None")
    install(folder, "kdst-nothing", name="nothing", module="fake_nothing", code=nothing)


def kdst(
    *arguments: str, path: Path | None = None, cwd: Path | None = None, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command in a fresh process, with a folder of fake packages on its path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KDST_")}
    environment |= env
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", "kdst_core", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=300,
        check=False,
    )


COMMAND = """
import os, signal
os.environ["FAKE_COMMAND"] = str(os.getpid())
signal.signal(signal.SIGINT, signal.default_int_handler)
from kdst_core.cli import main
main()
"""
"""The command, which tells the runs of fake methods its number."""


def ended(sign: signal.Signals, *words: str, path: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder of fake packages until its first run has kept its first checkpoint,
    and sends it a signal. Workers hold the pipes, so this returns when none of them is left."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        capture_output=True,
        text=True,
        cwd=path,
        env={**os.environ, "PYTHONPATH": str(path), "FAKE_END": str(int(sign))},
        timeout=300,
        check=False,
    )


BENCH = """
class Bench:
    capability = "invert"
    package = "fake-invert"
    inputs = Inputs
    live = frozenset()
    codec = JsonCodec()
    def prepare(self, job):
        return Prepared(job)
    def report(self, result, directory):
        return ReportContent("sub", [], [])

bench = Bench()
"""
"""The end of a module that has made `Inputs` and `Prepared`."""


LETTERS = '''
"""Counts letters."""
import os, signal, sys, time
from pathlib import Path
from attrs import frozen
from kdst_core import Description, KdstError, hookimpl, option
from kdst_core.bench.contract import Outcome
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import JsonCodec

@frozen
class Inputs:
    text: str = option("abc", "The text.")
    threads: int = option(1, "Threads.", min=1)

@frozen
class Options:
    times: int = option(3, "How often.", min=1)
    fail: str = option("", "When to fail.")
    pace: float = option(0.0, "Seconds a step.")

@hookimpl
def describe():
    return Description(summary="Counts letters.", options=Options)

@hookimpl
def invert(request, options, run):
    mark = Path(os.environ.get("FAKE_MARKS", ".")) / f"{options.fail}-{run.dir.name}"
    if options.fail == "always":
        raise ValueError("it always fails")
    if options.fail == "bad":
        raise KdstError("this input is bad")
    if options.fail == "abort":
        os.abort()
    if options.fail == "leave":
        sys.exit(0)
    if options.fail in ("once", "die") and not mark.exists():
        mark.touch()
        if options.fail == "die":
            os._exit(9)
        raise ValueError("it fails once")
    return len(request) * options.times

@frozen
class Prepared:
    job: object
    device: str = "cpu"
    def execute(self, run):
        done = run.restore() or []
        for step in range(len(done), 3):
            time.sleep(self.job.options.pace)
            done.append(self.job.method.call(self.job.inputs.text, self.job.options, run) + run.seed)
            run.log("count", done[-1], step + 1)
            run.checkpoint(done)
            if self.job.inputs.text == "stop":
                raise KeyboardInterrupt
            if os.environ.get("FAKE_END"):
                os.kill(int(os.environ["FAKE_COMMAND"]), int(os.environ["FAKE_END"]))
                signal.pause()
        return Outcome({"count": float(sum(done))}, {}, {"seen": len(done)}, [], ["ok"])
'''
ENTRIES = (
    "[kdst.invert]\nletters = fake_invert\nother = fake_other\n"
    "[kdst.benches]\ninvert = fake_invert:bench\n"
)


def distribution(folder: Path, entries: str) -> None:
    """Write the metadata of a distribution with the name of a real bench into a folder."""
    info = folder / "kdst_invert-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kdst-invert\nVersion: 1.0\nRequires-Dist: kdst-core>=0.1,<0.2\n"
    )
    (info / "entry_points.txt").write_text(entries)


def letters(folder: Path) -> Path:
    """Write a bench and two methods of plain Python into a folder.

    Their distribution has the name of the real bench, which it hides when the folder comes first.
    """
    distribution(folder, ENTRIES)
    text = LETTERS + BENCH
    (folder / "fake_invert.py").write_text(text)
    (folder / "fake_other.py").write_text(text.replace("len(request)", "2 * len(request)"))
    return folder
