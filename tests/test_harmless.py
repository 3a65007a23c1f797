"""Plugins whose import, options, commands or observers do what they must not: only they are harmed."""

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from kdst_core import cli
from kdst_core.errors import KdstError
from kdst_core.plugins import registry
from kdst_core.runs.rundir import Run
from tests.test_metadata import package


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder first on the path, whose module is gone afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("fake_odd", None)


def load(site: Path, code: str) -> object:
    """Import a module of a package."""
    (site / "fake_odd.py").write_text(f"import os, signal, sys\n{code}\n")
    return registry.load_object(EntryPoint("odd", "fake_odd", "kdst.invert"), "fake-odd")


@pytest.mark.parametrize(
    "code",
    [
        "os.chdir('/')",
        "os.environ['KDST_TEA_LR'] = '9'; os.environ.pop('KDST_ONLY')",
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "sys.stdout = sys.stderr = sys.stdin = None",
        "sys.argv[:] = ['other']",
        "os.umask(0o777)",
        "print('noise')",
    ],
)
def test_what_an_import_changes_for_others_is_put_back(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    monkeypatch.setenv("KDST_ONLY", "odd")

    def state() -> list[object]:
        mask = os.umask(0)
        os.umask(mask)
        variables = {k: v for k, v in os.environ.items() if k.startswith("KDST_")}
        handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        return [
            os.getcwd(),
            variables,
            handlers,
            sys.stdin,
            sys.stdout,
            sys.stderr,
            sys.argv[:],
            mask,
        ]

    before = state()
    load(site, code)
    assert state() == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(0)",
        "raise GeneratorExit",
        "def f(): f()\nf()",
        "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E",
    ],
)
def test_whatever_an_import_raises_is_one_broken_package(site: Path, code: str) -> None:
    with pytest.raises(KdstError, match="fake-odd is broken: importing fake_odd failed with"):
        load(site, code)


def test_a_name_that_a_package_registers_for_two_modules_cannot_run(site: Path) -> None:
    lines = "odd = fake_odd\nodd = fake_other\neven = fake_odd\neven = fake_odd\n"
    package(site, "fake-odd", f"\ufeff[kdst.invert]\n{lines}")
    for name in ("fake_odd", "fake_other"):
        (site / f"{name}.py").write_text("")
    with pytest.raises(KdstError, match="has 'odd' twice: fake_odd and fake_other"):
        registry.find("odd")
    assert registry.find("even").problems == ()


def test_a_module_with_extras_is_found(site: Path) -> None:
    package(site, "fake-odd", "[kdst.invert]\nodd = fake_odd [fast]\n")
    (site / "fake_odd.py").write_text("")
    assert registry.find("odd").problems == ()


def test_a_command_that_fails_is_its_packages_fault(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package(site, "fake-odd", "[kdst.commands]\ngreet = fake_odd:greet\n")
    code = "import click\n@click.command()\ndef greet():\n    raise ValueError('mine')\n"
    (site / "fake_odd.py").write_text(code)
    monkeypatch.setattr(cli, "_called", [])
    monkeypatch.setattr(sys, "argv", ["kdst", "greet"])
    monkeypatch.setattr(cli, "heed_termination", lambda: None)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "Error: the command 'greet', which a package adds, failed with ValueError: mine"
    )
    assert "bug in kdst" not in told


def test_an_observer_that_leaves_is_told_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Leaving:
        def logged(self, event: object) -> None:
            sys.exit(0)

    run = Run(tmp_path, seed=0, device="cpu", show="quiet")
    run.listeners = [Leaving()]  # type: ignore[list-item]
    run.log("a", 1.0, 0)
    run.log("a", 2.0, 1)
    assert capsys.readouterr().err.count("stopped watching (SystemExit: 0)") == 1
    run.close()
