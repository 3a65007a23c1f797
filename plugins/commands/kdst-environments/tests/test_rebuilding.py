"""`kdst repeat --rebuild`: what a lock may have installed, what it says and asks, and the run in it."""

import json
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

import kdst_core
from kdst_core.errors import KdstError
from kdst_core.plugins import provenance
from kdst_environments import installing, overlay, rebuilding, repeat, with_packages

CATALOGUE = ("kdst-tea", "kdst-adapt")


class Said(Distribution):
    """A distribution that is only metadata."""

    def __init__(self, name: str, version: str, *needs: str) -> None:
        lines = [f"Requires-Dist: {line}" for line in needs]
        head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        self.text = "\n".join([*head, *lines, ""])

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


HERE = [
    Said("kdst-core", "0.2.0", "click>=8"),
    Said("kdst-tea", "0.2.0", "kdst-adapt", "extra-of-tea; extra == 'more'"),
    Said("kdst_adapt", "0.1.0", "torch>=2"),
    Said("torch", "2.2", "sympy", "far; extra == 'all'"),
    Said("click", "8.1.0"),
    Said("own-plugin", "1.0", "anything"),
]


def plan(lock: dict[str, str], *used: str) -> rebuilding.Plan:
    return rebuilding.plan(lock, used, HERE, CATALOGUE)


def test_what_differs_is_installed_and_what_is_the_same_is_not() -> None:
    made = plan({"kdst-tea": "0.1.0", "torch": "2.2.0", "click": "8.1", "sympy": "1.13"})
    assert made.requirements == ["kdst-tea==0.1.0", "sympy==1.13"]
    assert list(made.lines()) == [
        "Would install, into an environment of its own: "
        "kdst-tea 0.1.0 (0.2.0 here), sympy 1.13 (not here)"
    ]


def test_only_published_packages_and_what_they_need_are_installed() -> None:
    lock = dict.fromkeys(("extra-of-tea", "far", "anything", "own-plugin", "evil"), "9.0")
    made = plan(lock)
    assert made.requirements == ["extra-of-tea==9.0"]
    assert set(made.refused) == {"far", "anything", "own-plugin", "evil"}
    (_, refused) = made.lines()
    assert refused == (
        "Not installed, since no published package needs them: "
        "anything 9.0, evil 9.0, far 9.0, own-plugin 9.0"
    )


def test_a_run_of_a_package_that_nobody_published_is_not_rebuilt() -> None:
    with pytest.raises(
        KdstError, match=r"own-plugin 2\.0 carried this run out and is no published"
    ):
        plan({"own-plugin": "2.0"}, "kdst-core", "own_plugin")
    assert not plan({"own-plugin": "1.0"}, "own-plugin").refused


def test_a_package_whose_metadata_are_faulty_lets_nothing_in() -> None:
    faulty = [*HERE, Said("kdst-tea", "0.1.0", "evil @@ ==", "-r evil.txt")]
    assert "evil" not in rebuilding.reachable(CATALOGUE, {"kdst-tea": faulty[-1]})


@pytest.mark.parametrize(
    "text",
    [
        "torch",
        "torch>=1",
        "torch==1 --index-url=x",
        "-r other.txt==1",
        "torch @ git+https://x==1",
        "../torch==1",
        "torch==not a version",
        "torch==1\x1b[2J",
        "tórch==1",
    ],
)
def test_a_lock_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "requirements.lock").write_text(f"# Python 3.11.7\n{text}\n")
    with pytest.raises(KdstError, match=r"is no list of name==version") as refused:
        rebuilding.locked(tmp_path)
    assert len(str(refused.value).splitlines()) == 1
    assert str(refused.value).isprintable()


def test_a_lock_that_is_a_link_long_or_absent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requirements.lock"
    with pytest.raises(KdstError, match="has no requirements"):
        rebuilding.locked(tmp_path)
    path.symlink_to(tmp_path / "other")
    with pytest.raises(KdstError, match="is a link"):
        rebuilding.locked(tmp_path)
    path.unlink()
    path.write_text("".join(f"p{n}==1\n" for n in range(6000)))
    with pytest.raises(KdstError, match="names 6,000 packages"):
        rebuilding.locked(tmp_path)


def test_the_lock_of_a_run_is_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text(provenance.lock())
    lock = rebuilding.locked(tmp_path)
    assert lock["kdst-core"] == kdst_core.__version__
    assert {"click", "attrs", "pytest"} <= lock.keys()
    assert not rebuilding.plan(lock, (), distributions(), CATALOGUE).install


def test_uv_installs_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(installing.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(overlay, "_lay", lambda _: None)
    monkeypatch.setattr(overlay, "_install", lambda _, words, __: calls.append(words))
    overlay._make_of_pins(tmp_path, ["torch==2.2"], Path("/w"))
    own = f"{tmp_path}/bin/python"
    words = (
        "/bin/uv pip install --python {} --no-index --find-links /w torch==2.2 --no-deps --quiet"
    )
    assert calls == [words.format(own).split()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a short run."""
    pytest.importorskip("kdst_adapt")
    out = tmp_path_factory.mktemp("runs") / "norm"
    kdst_core.run("norm", out=out, images=20, types="contrast", batch_size=20)
    return out


def repinned(run: Path, **versions: str) -> None:
    """Change versions in the lock of a run."""
    path = run / "requirements.lock"
    lock = {**rebuilding.locked(run), **versions}
    path.write_text("".join(f"{name}=={version}\n" for name, version in lock.items()))


def tool(folder: Path, version: str) -> Path:
    """Build a wheel that takes the place of a package that every installation has."""
    (folder / "src/tomli_w").mkdir(parents=True)
    (folder / "src/tomli_w/__init__.py").write_text(OLD)
    (folder / "src/pyproject.toml").write_text(
        f'[project]\nname = "tomli-w"\nversion = "{version}"\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    )
    words = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(folder / "wheels"),
    ]
    subprocess.run(words, cwd=folder / "src", check=True, capture_output=True)
    return folder / "wheels"


OLD = """
import sys
from pathlib import Path

own = Path(__file__).parents[1]
beside = (Path(p, "tomli_w") for p in sys.path if p and Path(p) != own)
__path__ = [str(next(folder for folder in beside if folder.is_dir()))]

from tomli_w._writer import dumps as newer


def dumps(*words, **more):
    print("written by the old one", file=sys.stderr)
    return newer(*words, **more)
"""
"""An older version of tomli-w, which says that it is asked."""


@pytest.mark.skipif(not find_spec("pip"), reason="this environment has no pip")
@pytest.mark.skipif(not find_spec("hatchling"), reason="needs hatchling")
def test_a_run_is_repeated_with_the_versions_that_it_recorded(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDST_CACHE", str(tmp_path / "cache"))
    repinned(finished, **{"tomli-w": "0.9"})
    wheels = tool(tmp_path, "0.9")
    seen: list[str] = []
    monkeypatch.setattr(with_packages, "passed_on", lambda words: seen.extend(words) or 0)
    words = [str(finished), "--rebuild", "--wheels", str(wheels), "--out", str(tmp_path / "new")]
    asked = CliRunner().invoke(repeat.command, words)
    assert isinstance(asked.exception, KdstError)
    assert "add --yes" in str(asked.exception)
    assert "tomli-w 0.9 (" in asked.output
    assert not (tmp_path / "cache").exists()
    made = CliRunner().invoke(repeat.command, [*words, "--yes"])
    assert made.exit_code == 0, made.output
    done = subprocess.run(seen, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "written by the old one" in done.stderr
    assert "every metric is the same" in done.stdout
    assert rebuilding.locked(tmp_path / "new")["tomli-w"] == "0.9"
    recorded = json.loads((tmp_path / "new/env.json").read_text())["installed"]
    assert recorded["kdst-core"]["version"] == kdst_core.__version__
    nothing = CliRunner().invoke(repeat.command, [*words, "--yes", "--wheels", str(tmp_path)])
    assert isinstance(nothing.exception, KdstError)
    assert "cannot be installed" in str(nothing.exception)


def test_where_nothing_differs_it_is_repeated_here(finished: Path, tmp_path: Path) -> None:
    (finished / "requirements.lock").write_text(provenance.lock())
    words = [str(finished), "--rebuild", "--out", str(tmp_path / "new"), "-q"]
    done = CliRunner().invoke(repeat.command, words)
    assert done.exit_code == 0, done.output
    assert "Nothing is to be installed." in done.output


def test_options_of_rebuilding_belong_to_it(finished: Path) -> None:
    done = CliRunner().invoke(repeat.command, [str(finished), "--yes"])
    assert "belong to --rebuild" in str(done.exception)
