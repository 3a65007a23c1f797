"""Capabilities that packages add: a faulty one harms its own methods and nothing else."""

from pathlib import Path

import pytest

from kdst_core.errors import KdstError
from kdst_core.plugins import capabilities, registry
from kdst_core.plugins.method import load
from tests.fakes import GOOD, kdst

SPEC = """
from kdst_core import hookspec

@hookspec({marks})
def fade({arguments}):
    raise NotImplementedError
"""
RIGHT = SPEC.format(marks="firstresult=True", arguments="request, options, run")


def add(
    folder: Path, package: str, points: str, *, metadata: str | None = None, **modules: str
) -> None:
    """Write a package of entry points and modules."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    (info / "METADATA").write_text(head if metadata is None else metadata)
    (info / "entry_points.txt").write_text(points)
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder where Python looks for packages, with a method of a capability `fade`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    code = GOOD.format(hook="fade", body="return object()")
    add(tmp_path, "fake-method", "[kdst.fade]\nfader = fader_method\n", fader_method=code)
    return tmp_path


POINTS = "[kdst.capabilities]\nfade = {}\n"


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("fading_a", "import no_such_module", "importing fading_a failed with ModuleNotFoundError"),
        (
            "fading_b",
            "class E(BaseException): pass\nraise E('x')",
            "importing fading_b failed with E: x",
        ),
        ("fading_c", "def __getattr__(name): raise ValueError(name)", "specifies no hook"),
        ("fading_d", RIGHT.replace("def fade", "def adapt") + RIGHT, "none of the core's"),
        ("fading_e", SPEC.format(marks="", arguments="request, options, run"), "firstresult=True"),
        (
            "fading_f",
            SPEC.format(marks="firstresult=True", arguments="signal"),
            "of request, options and run",
        ),
    ],
)
def test_a_faulty_specification_is_a_line_of_its_methods(
    site: Path, name: str, code: str, reason: str
) -> None:
    add(site, "fake-fading", POINTS.format(name), **{name: code})
    with pytest.raises(KdstError, match=reason):
        load("fader")
    assert "fader" in {p.name for p in registry.discover()}


def test_a_specification_that_ends_the_process_is_a_line(tmp_path: Path) -> None:
    code = GOOD.format(hook="fade", body="return object()")
    add(tmp_path, "fake-method", "[kdst.fade]\nfader = fader_method\n", fader_method=code)
    add(tmp_path, "fake-fading", POINTS.format("fading"), fading="import os\nos._exit(0)")
    done = kdst("info", "fader", path=tmp_path)
    assert done.returncode == 2
    assert "importing fading of fake-fading ended the process" in done.stderr


def test_one_of_two_that_does_not_exist_takes_nothing_away(site: Path) -> None:
    add(site, "fake-fading", POINTS.format("fading_there"), fading_there=RIGHT)
    add(site, "fake-absent", POINTS.format("fading_nowhere"))
    assert load("fader").name == "fader"
    assert (
        "fake-absent: it adds no capability 'fade': module fading_nowhere was not found"
        in (registry.survey()[1])
    )


def test_two_that_exist_are_told_with_what_to_do(site: Path) -> None:
    add(site, "fake-fading", POINTS.format("fading_one"), fading_one=RIGHT)
    add(site, "fake-other", POINTS.format("fading_two"), fading_two=RIGHT, metadata="")
    with pytest.raises(KdstError, match="pip uninstall fake-fading or fake-other"):
        load("fader")


def test_names_that_add_nothing_are_told(site: Path) -> None:
    points = "[kdst.capabilities]\nclass = fading_named\nadapt = fading_named\n-x = fading_named\n"
    add(site, "fake-names", points, fading_named=RIGHT)
    lines = [line for line in registry.survey()[1] if line.startswith("fake-names: ")]
    assert len(lines) == 3
    assert capabilities.capabilities() == capabilities.OWN


def test_the_bench_is_of_the_package_that_adds_the_capability(site: Path) -> None:
    bench = "[kdst.benches]\nfade = fading_bench:bench\n"
    add(site, "fake-aaa", bench.replace("fading_bench", "fading_evil"), fading_evil="bench = 1")
    add(site, "fake-fading", POINTS.format("fading_bench") + bench, fading_bench="bench = 2")
    assert registry.bench_package("fade") == "fake-fading"
    assert registry.load_bench("fade") == 2


def test_a_command_of_a_package_without_a_name_is_loaded(site: Path) -> None:
    add(site, "fake-nameless", "[kdst.commands]\nzap = zapping:x\n", metadata="", zapping="x = 3")
    assert registry.load_command("zap") == 3
