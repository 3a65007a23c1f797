"""Metadata of installed packages: whatever they hold is a problem of that one package."""

import json
import os
import socket
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdst_core.cli.plugins import command as plugins
from kdst_core.errors import KdstError, did_you_mean
from kdst_core.plugins import entries, installed, registry, shield
from kdst_environments import doctor

CODE = '"""A module."""\n'


def package(
    folder: Path, name: str, table: str | bytes, requires: str = "kdst-core>=0.1,<0.2"
) -> Path:
    """Write the metadata of a package."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {requires}\n"
    (info / "METADATA").write_text(head)
    (info / "entry_points.txt").write_bytes(table.encode() if isinstance(table, str) else table)
    return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on the path, with one right method in it."""
    package(tmp_path, "fake-right", "[kdst.invert]\nright = fake_right\n")
    (tmp_path / "fake_right.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def problems(name: str) -> dict[str, tuple[str, ...]]:
    """Return the problems of a package's methods, by the method's name."""
    return {p.name: p.problems for p in registry.discover() if p.package == name}


@pytest.mark.parametrize("name", ["run", "input", "-lead", "--help", "a/b", "two words", "é"])
def test_a_name_that_would_corrupt_a_run_is_a_problem(site: Path, name: str) -> None:
    package(site, "fake-name", f"[kdst.invert]\n{name} = fake_right\n")
    (found,) = problems("fake-name").values()
    assert any("name" in p for p in found)
    with pytest.raises(KdstError, match="cannot run"):
        registry.find(f"fake-name/{name}")


def test_a_module_in_namespace_packages_is_found_without_importing_them(site: Path) -> None:
    (site / "fakespace/inner").mkdir(parents=True)
    (site / "fakespace/inner/plug.py").write_text('"""Deep inside."""\n')
    package(site, "fake-deep", "[kdst.invert]\ndeep = fakespace.inner.plug\n")
    assert problems("fake-deep") == {"deep": ()}
    assert registry.summary(registry.find("deep")) == "Deep inside."
    assert "fakespace" not in sys.modules


def test_a_faulty_line_is_listed_and_harms_no_other(site: Path) -> None:
    package(site, "fake-line", "[kdst.invert]\nno entry\nfine = fake_right\n")
    package(site, "fake-bytes", b"[kdst.invert]\nb\xff = fake_right\n")
    found = problems("fake-line")
    assert found["fine"] == ()
    assert "without '='" in found["no entry"][0]
    assert len(problems("fake-bytes")) == 1
    assert registry.find("right").problems == ()


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ("kdst-core >= banana", "banana"),
        ("kdst-core>=99", "needs kdst-core >=99, this is"),
        ("fake-kdst-bench>=0.9,<1", ""),
        ("kdst-fake>=2", "needs kdst-fake >=2, this is 1.0"),
        ("kdst_fake>=2; extra == 'test'", ""),
    ],
)
def test_the_range_of_every_package_of_kdst_is_read(site: Path, requires: str, words: str) -> None:
    package(site, "kdst-fake", "")
    package(site, "fake-range", "[kdst.invert]\nranged = fake_right\n", requires)
    (found,) = problems("fake-range").values()
    assert words in " ".join(found)
    assert bool(found) is bool(words)


def test_libraries_that_list_entry_points_pass_over_a_faulty_package(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(site, "fake-line", "[kdst.invert]\nno entry\n")
    monkeypatch.setattr(metadata, "entry_points", metadata.entry_points)
    shield.shield_libraries()
    assert "right" in metadata.entry_points(group="kdst.invert").names
    assert metadata.entry_points(group="no.such.group") == ()


def test_no_other_package_takes_the_place_of_a_bench_or_spoils_it(site: Path) -> None:
    (site / "fake_bench.py").write_text("mine, other = 1, 2\n")
    package(site, "kdst-invert", "[kdst.benches]\ninvert = fake_bench:mine\n")
    package(site, "fake-absent", "[kdst.benches]\ninvert = nowhere:bench\n")
    package(site, "a-fake", "[kdst.benches]\ninvert = fake_bench:other\n")
    assert registry.load_bench("invert") == 1
    package(site, "fake-one", "[kdst.executors]\nfar = fake_bench:mine\n")
    package(site, "fake-two", "[kdst.executors]\nfar = nowhere:x\n")
    assert registry.load_named("executor", "far") == 1
    package(site, "fake-two", "[kdst.executors]\nfar = fake_bench:other\n")
    os.utime(site)
    with pytest.raises(KdstError, match=r"by fake-one and fake-two\.\n.*fake-one or fake-two"):
        registry.load_named("executor", "far")


def test_a_distribution_without_a_name_has_that_of_its_folder(site: Path) -> None:
    info = package(site, "fake-anonymous", "[kdst.invert]\nanonymous = fake_right\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\n")
    assert problems("fake-anonymous") == {"anonymous": ()}


def test_a_command_in_an_archive_is_listed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = site / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(
            "fake_zip-1.0.dist-info/entry_points.txt", "[kdst.commands]\nzipped = a_zip:c\n"
        )
    monkeypatch.syspath_prepend(archive)
    assert "zipped" in entries.commands()


def test_a_command_is_told_of_once_whatever_the_notation_of_its_metadata(site: Path) -> None:
    (site / "fake_module.py").write_text('"""A line."""\n')
    for name in ("fake_noted.egg-info", "fake_noted-1.0.dist-info", "Fake.Noted-2.0.dist-info"):
        (site / name).mkdir()
        (site / name / "entry_points.txt").write_text(
            "[kdst.commands]\nnoted = fake_module : c [extra]\n"
        )
    assert [e.name for e in entries.listed(entries.COMMANDS)].count("noted") == 1
    assert entries.commands()["noted"] == "A line."


def test_what_was_probably_meant_is_said_once() -> None:
    assert did_you_mean("clams", ["claims", "run", "claims"]) == " Did you mean 'claims'?"


def _socket(path: Path) -> None:
    """Put a socket at a path, whose folder may have a name that is too long for one."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _socket])
@pytest.mark.parametrize("file", ["entry_points.txt", "METADATA", "RECORD", "PKG-INFO"])
def test_what_is_no_file_in_place_of_one_is_told_and_waited_for_by_nobody(
    site: Path, monkeypatch: pytest.MonkeyPatch, file: str, make: Any
) -> None:
    info = package(
        site, "fake-piped", "[kdst.invert]\npiped = fake_right\n[kdst.commands]\na = b:c\n"
    )
    (info / file).unlink(missing_ok=True)
    make(info / file)
    os.utime(site)
    found, unread = registry.survey()
    reasons = [*unread, *(p for plugin in found if plugin.name == "piped" for p in plugin.problems)]
    assert all("is no regular file" in reason for reason in reasons)
    assert bool(reasons) is (file != "RECORD")
    assert "right" in {p.name for p in found}
    assert all("fake-piped" in line for line in unread)
    assert bool([c for c in entries.commands() if c == "a"]) is (file != "entry_points.txt")
    monkeypatch.setattr(metadata, "entry_points", metadata.entry_points)
    shield.shield_libraries()
    assert "right" in metadata.entry_points(group="kdst.invert").names


def test_a_package_that_is_a_pipe_is_passed_over(site: Path) -> None:
    os.mkfifo(site / "fake_pipe-1.0.egg-info")
    os.utime(site)
    assert "right" in {p.name for p in registry.discover()}
    assert doctor._stale() == []


def test_a_package_of_too_many_methods_is_told_and_not_listed(site: Path) -> None:
    many = "".join(f"m{n} = nowhere\n" for n in range(20_000))
    package(site, "fake-many", f"[kdst.invert]\n{many}")
    package(site, "fake-crowd", f"[kdst.commands]\n{many}")
    package(site, "fake-long", "[kdst.invert]\nlong = fake_right\n" + "#" * (1 << 23))
    found, unread = registry.survey()
    assert not [p for p in found if p.package in ("fake-many", "fake-long")]
    assert sorted(line for line in unread if line.startswith("fake-")) == [
        "fake-crowd: its entry_points.txt has 20,000 entry points of kdst, more than 500, so that"
        " nothing of it is listed",
        "fake-long: its entry_points.txt is longer than 4 MiB, so that nothing of it is listed",
        "fake-many: its entry_points.txt has 20,000 entry points of kdst, more than 500, so that"
        " nothing of it is listed",
    ]
    assert "m1" not in entries.commands()
    listed = CliRunner().invoke(plugins, ["--json"])
    assert listed.stderr.count("Warning: fake-") == 3
    assert "right" in {row["name"] for row in json.loads(listed.stdout)}


def test_a_misspelt_group_is_told_and_one_of_a_package_of_its_own_is_not(site: Path) -> None:
    lines = "[kdst.adpat]\na = fake_right\nb = fake_right\n[kdst.colours]\nc = fake_right\n"
    package(site, "fake-group", lines)
    told = [line for line in registry.survey()[1] if line.startswith("fake-group")]
    assert told == ["fake-group: kdst reads no group [kdst.adpat]. Did you mean 'adapt'?"]


LINES = st.one_of(
    st.sampled_from(
        ["[kdst.invert]", "[kdst.commands]", "[kdst.benches]", "[", "=", "x = ", "a.b = c:d"]
    ),
    st.text(max_size=30),
)
REQUIRES = st.one_of(st.just("kdst-core>=0.1"), st.text(max_size=30).map("kdst-core".__add__))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(st.binary(max_size=80), st.lists(LINES, max_size=6).map("\n".join)),
    st.one_of(st.binary(max_size=80), REQUIRES),
)
def test_whatever_metadata_hold_the_others_are_listed(
    site: Path, table: bytes | str, requires: bytes | str
) -> None:
    info = package(site, "fake-odd", "")
    raw = table if isinstance(table, bytes) else table.encode("utf-8", "replace")
    (info / "entry_points.txt").write_bytes(b"[kdst.invert]\n" + raw)
    if isinstance(requires, str):
        head = b"Metadata-Version: 2.1\nName: fake-odd\nVersion: 1.0\nRequires-Dist: "
        (info / "METADATA").write_bytes(head + requires.encode("utf-8", "replace") + b"\n")
    else:
        (info / "METADATA").write_bytes(requires)
    os.utime(site)
    listed = registry.discover()
    assert next(p for p in listed if p.name == "right").package == "fake-right"
    assert all(isinstance(registry.summary(p), str) for p in listed if p.package.startswith("fake"))
    entries.commands()


VERSIONS = st.from_regex(r"\A[0-9]{1,2}(\.[0-9]{1,2}){0,3}\Z") | st.sampled_from(
    ["0.1rc1", "", "x"]
)
BOUNDS = st.tuples(st.sampled_from([">=", "<", "==", ">", "!="]), VERSIONS).map("".join)
MARKERS = st.sampled_from(["", "; extra == 'test'", "; extra == ''", "; python_version > '3'", ";"])
NAMES = st.sampled_from(
    ["kdst-core", "kdst_fake", "Kdst.Fake", "kdst-absent", "kdst-", "kdst core"]
)


@settings(max_examples=300, deadline=None)
@given(NAMES, st.lists(BOUNDS, max_size=3).map(",".join), MARKERS, VERSIONS)
def test_a_requirement_that_is_said_to_fit_at_once_fits_for_packaging_too(
    name: str, bounds: str, marker: str, version: str
) -> None:
    known: Any = {"kdst-fake": type("Fake", (), {"version": version})}
    line = f"{name}{bounds}{marker}"
    if installed.plainly_fits(line, known, version):
        assert installed._misfit(line, known, version) == []


def test_the_usual_forms_of_a_requirement_are_read_without_packaging() -> None:
    known: Any = {"kdst-fake": type("Fake", (), {"version": "0.10.0"})}
    fits = [
        "kdst-core<0.2,>=0.1",
        "kdst-fake>=0.9,<0.11",
        "kdst-x>=3",
        "kdst-core<0; extra == 'test'",
    ]
    misfits = [
        "kdst-core>=0.1.1",
        "kdst-fake<0.10",
        "kdst-core!=0.1",
        "kdst-core>=0.1,",
        "kdst-core",
    ]
    assert all(installed.plainly_fits(line, known, "0.1.0") for line in fits)
    assert not any(installed.plainly_fits(line, known, "0.1.0") for line in misfits)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b'"""One line."""', "One line."),
        (b'# a comment\n\n  # another\nr"""Raw and "quoted".\n\nMore."""', 'Raw and "quoted".'),
        (b'"""\nOn the second line.\n"""', "On the second line."),
        (b"'Single quotes.'", "Single quotes."),
        (b'"""The letter \\x41."""', "The letter A."),
        (b'x = 1\n"""No docstring."""', ""),
        (b'"" "" "In pieces."', "In pieces."),
        (b'"""broken', "broken"),
        (b"(", ""),
        (b"", ""),
    ],
)
def test_the_first_line_of_a_docstring_is_read_in_any_notation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: bytes, line: str
) -> None:
    (tmp_path / "fake_docstring.py").write_bytes(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert entries.docstring_line("fake_docstring") == line
