"""`kdst repeat`: the same metrics once more, and what is said where they are not."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import kdst_core
from kdst_core.errors import KdstError
from kdst_environments import repeat, repeating

if not find_spec("kdst_adapt"):
    pytest.skip("needs the bench kdst-adapt", allow_module_level=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a short run."""
    out = tmp_path_factory.mktemp("runs") / "norm"
    kdst_core.run("norm", out=out, images=100, types="contrast", batch_size=25)
    return out


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of that run, to change."""
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.toml", "env.json", "requirements.lock", "result.json"):
        (copy / name).write_bytes((finished / name).read_bytes())
    (copy / "artifacts").mkdir()
    for file in (finished / "artifacts").iterdir():
        (copy / "artifacts" / file.name).write_bytes(file.read_bytes())
    return copy


def change(path: Path, table: str, **values: Any) -> None:
    """Change values in a table of a JSON file."""
    data = json.loads(path.read_text())
    data[table].update(values)
    path.write_text(json.dumps(data))


def repeated(run: Path, out: Path) -> Result:
    return CliRunner().invoke(repeat.command, [str(run), "--out", str(out), "--quiet"])


def test_a_run_comes_out_the_same_whatever_variables_say_today(
    again: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDST_INPUT_IMAGES", "50")
    result = repeated(again, tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "every metric is the same" in result.output
    new = json.loads((tmp_path / "new/result.json").read_text())
    assert new["input"]["images"] == 100


def test_the_first_metric_that_differs_is_named(again: Path, tmp_path: Path) -> None:
    change(again / "result.json", "metrics", **{"accuracy.mean": 0.5})
    result = repeated(again, tmp_path / "new")
    assert result.exit_code == 1
    assert result.output.startswith("accuracy.mean: 0.5 before, ")
    assert "1 of " in result.output


def test_other_versions_are_said(again: Path, tmp_path: Path) -> None:
    change(again / "env.json", "packages", torch="1.0", absent_package="2.0")
    recorded = json.loads((again / "env.json").read_text())["installed"]
    edited = {**recorded["kdst-adapt"], "sha256": "0" * 16}
    change(again / "env.json", "installed", **{"kdst-adapt": edited})
    result = repeated(again, tmp_path / "new")
    assert "kdst-adapt 0.1.0 has other files than then" in result.output
    assert "kdst-core 0.1.0 has other" not in result.output
    assert "torch 1.0 then, " in result.output
    assert "absent_package 2.0 then, not installed now" in result.output


def test_what_came_from_python_is_not_on_disk(again: Path, tmp_path: Path) -> None:
    change(
        again / "result.json", "input", model="<torch.nn.modules.container.Sequential 0123456789ab>"
    )
    result = repeated(again, tmp_path / "new")
    assert isinstance(result.exception, KdstError)
    assert "--model as an object from Python" in str(result.exception)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["config.toml", "result.json"])
def test_a_directory_that_lacks_a_file_is_refused(again: Path, tmp_path: Path, name: str) -> None:
    (again / name).unlink()
    result = repeated(again, tmp_path / "new")
    assert isinstance(result.exception, KdstError)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"packages": 3, "python": "3"}',
        "\x00",
        '{"packages": {"torch\\u001b[2J": "1"}, "python": "3"}',
        '{"packages": {"torch": "1\\u001b[2J"}, "python": "3"}',
        '{"packages": {"torch": 1}, "python": "3"}',
        json.dumps({"packages": {f"p{i}": "1" for i in range(2000)}, "python": "3"}),
    ],
)
def test_a_record_that_is_none_is_refused(again: Path, text: str) -> None:
    (again / "env.json").write_text(text)
    with pytest.raises(KdstError, match="no record of an environment"):
        repeating.recorded(again)


def test_a_record_that_is_a_link_is_refused(again: Path, finished: Path) -> None:
    (again / "env.json").unlink()
    (again / "env.json").symlink_to(finished / "env.json")
    with pytest.raises(KdstError, match="is a link"):
        repeating.recorded(again)


def test_what_was_not_installed_then_or_now_is_no_change(again: Path) -> None:
    change(again / "env.json", "packages", absent_package=None, click=None)
    record = repeating.recorded(again)
    lines = repeating.changes(record, record.versions["python"], ())
    assert [line.partition(",")[0] for line in lines] == ["click not installed then"]


def test_times_are_not_compared_and_nothing_equals_nothing() -> None:
    before = {
        "seconds_per_batch": 1.0,
        "cost_x_source": 2.0,
        "a": None,
        "b": 0.1,
        "c": 1.0,
        "d": 1.0,
    }
    now = {"seconds_per_batch": 9.0, "cost_x_source": 8.0, "a": None, "b": 0.1, "d": None}
    assert [d.name for d in repeating.compared(before, now)] == ["c", "d"]
