"""A run directory that somebody sent: whatever it holds, it is read as data and refused in a line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kdst_core.errors import KdstError
from kdst_core.runs.result import load_result
from kdst_core.runs.rundir import Run
from kdst_show.cli.report import command

RESULT: dict[str, Any] = {
    "schema": 1, "method": "m", "capability": "adapt", "plugin": "kdst-m", "plugin_version": "1.0",
    "core_version": "0.1.0", "seed": 0, "device": "cpu", "options": {}, "input": {}, "seconds": 1.5,
    "metrics": {"accuracy.mean": 0.5, "nll.mean": None}, "artifacts": {"c": "artifacts/c.json"},
    "warnings": [], "command": "kdst run m",
}  # fmt: skip


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A run whose files are as kdst writes them."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "c.json").write_text("{}")
    write(tmp_path, RESULT)
    return tmp_path


def write(run: Path, result: Any) -> None:
    (run / "result.json").write_text(json.dumps(result))


def test_a_result_as_kdst_writes_it_is_read(received: Path) -> None:
    assert load_result(received).data == RESULT


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("capability", "adapt2 evil-package"), ("method", "--index-url"), ("plugin", "a b"),
        ("plugin", ["kdst-m"]), ("plugin_version", "1; rm"), ("metrics", "x"), ("metrics", None),
        ("metrics", {"accuracy.mean": "high"}), ("metrics", {"accuracy.mean": 10**400}),
        ("seconds", "1"), ("seconds", True), ("options", []), ("input", 3), ("warnings", "none"),
        ("warnings", [1]), ("artifacts", ["a"]), ("artifacts", {"c": 1}), ("device", "\ud800"),
        ("command", {}), ("seed", 1.5),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_by_name(received: Path, key: str, value: Any) -> None:
    write(received, {**RESULT, key: value})
    with pytest.raises(KdstError, match=f"{key!r} must be") as refused:
        load_result(received)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", [k for k in RESULT if k != "schema"])
def test_a_key_that_is_missing_is_named(received: Path, key: str) -> None:
    write(received, {k: v for k, v in RESULT.items() if k != key})
    with pytest.raises(KdstError, match=f"{key!r} is missing"):
        load_result(received)


@pytest.mark.parametrize(
    "text", ['{"schema":1,"x":' + "[" * 99_999 + "]" * 99_999 + "}", '{"schema":1,"x":NaN}', "[1]", "{"]
)  # fmt: skip
def test_text_that_is_no_result_is_refused(received: Path, text: str) -> None:
    (received / "result.json").write_text(text)
    with pytest.raises(KdstError):
        load_result(received)


def test_texts_that_would_steer_a_terminal_are_shown_as_escapes(received: Path) -> None:
    evil = {"a\x1b[2J": ["\x07\u202eevil", "tab\tand\nline", "é 95\u00a0%"], "half": "\ud800"}
    write(received, {**RESULT, "options": evil, "warnings": ["\x9b31m"]})
    data = load_result(received).data
    shown = {"a\\x1b[2J": ["\\x07\\u202eevil", "tab\tand\nline", "é 95\u00a0%"], "half": "\\ud800"}
    assert (data["options"], data["warnings"]) == (shown, ["\\x9b31m"])


def test_a_table_too_deep_for_a_page_is_refused(received: Path) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"a": [deep]}
    write(received, {**RESULT, "options": deep})
    with pytest.raises(KdstError, match="nested too deeply"):
        load_result(received)


def test_links_are_refused_and_never_followed(received: Path) -> None:
    (received / "artifacts" / "deep").mkdir()
    (received / "artifacts" / "deep" / "p.png").symlink_to("/etc/hostname")
    with pytest.raises(KdstError, match="no regular file"):
        load_result(received)


def test_a_linked_folder_or_result_is_refused(received: Path) -> None:
    (received / "artifacts").rename(received / "elsewhere")
    (received / "artifacts").symlink_to("elsewhere")
    with pytest.raises(KdstError, match="is a link"):
        load_result(received)
    (received / "result.json").rename(received / "other.json")
    (received / "result.json").symlink_to("other.json")
    with pytest.raises(KdstError, match="is a link"):
        load_result(received)


def test_an_artifact_outside_the_run_or_of_another_type_is_refused(received: Path) -> None:
    write(received, {**RESULT, "artifacts": {"c": "../c.json"}})
    with pytest.raises(KdstError, match="outside the run"):
        load_result(received)
    write(received, {**RESULT, "artifacts": {"c": "artifacts/\0.json"}})
    assert load_result(received).data["artifacts"] == {"c": "artifacts/\\x00.json"}
    write(received, RESULT)
    (received / "artifacts" / "p.png").write_text("a key")
    with pytest.raises(KdstError, match="not the png file"):
        load_result(received)


def test_no_capability_of_a_file_becomes_an_install_instruction(received: Path) -> None:
    write(received, {**RESULT, "capability": "evil-package"})
    done = CliRunner().invoke(command, [str(received)])
    assert isinstance(done.exception, KdstError)
    assert "install" not in str(done.exception)


def test_artifacts_that_do_not_fit_are_the_files_fault(received: Path, monkeypatch: Any) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("methods")

    monkeypatch.setattr("kdst_core.plugins.registry.load_bench", lambda _: None)
    monkeypatch.setattr("kdst_core.reports.report.write", broken)
    done = CliRunner().invoke(command, [str(received)])
    assert isinstance(done.exception, KdstError)
    assert "does not fit (KeyError: 'methods')" in str(done.exception)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_result_that_is_no_file_is_refused_at_once(
    received: Path, make: Callable[[Path], None]
) -> None:
    (received / "result.json").unlink()
    make(received / "result.json")
    with pytest.raises(KdstError, match=r"result\.json: it is no regular file$"):
        load_result(received)


def test_a_result_of_an_absurd_length_is_not_read(received: Path) -> None:
    with (received / "result.json").open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(KdstError, match="is longer than 64 MiB"):
        load_result(received)


@pytest.mark.parametrize("name", ["events.jsonl", "input", "artifacts/c.json", "config.toml"])
@pytest.mark.parametrize("kind", ["pipe", "link", "hard link"])
def test_a_run_that_goes_on_writes_to_files_of_its_own(
    tmp_path: Path, received: Path, name: str, kind: str
) -> None:
    victim = tmp_path.parent / f"{tmp_path.name}-victim"
    victim.write_text("three weeks of notes")
    path = received / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(victim)
    else:
        path.hardlink_to(victim)
    run = Run(received, seed=0, device="cpu", show="quiet")
    with pytest.raises(KdstError, match="hard link" if kind == "hard link" else "is a link or no"):
        run.open({"m": {}}, resume=True, extended=True)
    assert victim.read_text() == "three weeks of notes"


@pytest.mark.plugins
def test_a_notebook_shows_the_reason_where_a_run_cannot_be_shown(received: Path) -> None:
    write(received, {**RESULT, "warnings": ["<script>"]})
    shown = load_result(received)._repr_html_()
    assert shown.startswith("<p>")
    assert "does not fit" in shown


def test_what_a_notebook_is_told_is_escaped(
    received: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(capability: str) -> Any:
        raise KdstError(f"no bench for {capability} is <b>installed</b>")

    monkeypatch.setattr("kdst_core.plugins.registry.load_bench", load)
    assert "&lt;b&gt;" in load_result(received)._repr_html_()
