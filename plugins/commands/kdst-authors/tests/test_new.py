"""`kdst new`: which names it takes, and that it writes all of a package or nothing."""

import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from kdst_authors import scaffold
from kdst_core.errors import KdstError
from kdst_core.plugins import registry
from tests.fakes import kdst


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My_Method", "Try 'my-method'"),
        ("../escape", "Try 'escape'"),
        ("a--b", "single hyphens"),
        ("", "small letters"),
        ("x" * 41, "at most 40"),
        ("lambda", "a word of Python"),
        ("input", "reserved"),
        ("tools", "reserved"),
        ("norm", "installed already, by kdst-adapt"),
    ],
)
@pytest.mark.plugins
def test_a_name_that_will_not_do_is_refused_in_one_line(
    tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(KdstError, match=words) as raised:
        scaffold.plan("adapt", name, tmp_path, "MIT")
    assert len(str(raised.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_published_name_is_refused_though_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "discover", lambda **_: [])
    with pytest.raises(KdstError, match="a published method"):
        scaffold.plan("adapt", "tea", tmp_path, "MIT")


def test_the_name_of_an_installed_distribution_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="reserved"):
        scaffold.plan("adapt", "core", tmp_path, "MIT")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kdst-mine").mkdir()
    done = kdst("new", "adapt", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert not list((tmp_path / "kdst-mine").iterdir())


def test_nothing_is_left_when_writing_fails_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Path.write_text

    def full(path: Path, *args: object, **kwargs: object) -> int:
        if path.name == "method.py":
            raise OSError(28, "No space left on device")
        return written(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(KdstError, match="No space left"):
        scaffold.create(scaffold.plan("adapt", "mine", tmp_path, "MIT"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("licence", scaffold.LICENCES)
@pytest.mark.plugins
def test_text_of_the_user_is_quoted_and_the_licence_is_whole(tmp_path: Path, licence: str) -> None:
    author, summary = 'Ada "Countess" <ada@example.org>', 'Says "a\\b" to {{ all }}.'
    plan = scaffold.plan("adapt", "mine", tmp_path, licence, author, summary)
    scaffold.create(plan)
    project = tomllib.loads((plan.folder / "pyproject.toml").read_text())["project"]
    assert project["description"] == summary
    assert project["authors"] == [{"name": author}]
    assert project["license"] == licence
    assert len((plan.folder / "LICENSE").read_text().splitlines()) > 20
    spec = spec_from_file_location("kdst_mine", plan.folder / "kdst_mine/__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.__doc__ == summary
    assert module.describe().summary == summary


@pytest.mark.parametrize("text", ["two\nlines", "x" * 81])
def test_a_summary_that_is_no_line_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(KdstError, match="--summary"):
        scaffold.plan("adapt", "mine", tmp_path, "MIT", summary=text)


def test_what_is_written_can_be_read_by_the_next_command(tmp_path: Path) -> None:
    done = kdst("new", "adapt", "mine", "--licence", "MIT", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pip install -e kdst-mine" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kdst-mine"]
