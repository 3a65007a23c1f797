"""Claims about files and folders that are whole or not there, and about one-line errors."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from kdst_core.errors import KdstError, first_line, typed_line
from kdst_core.files import move_folder, remove_temporaries, whole_file, whole_folder


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_text("old")
    with whole_file(path) as part:
        part.write_text("new")
        assert part.suffix == ".mp4"
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    with suppress(KdstError), whole_file(path) as part:
        part.write_text("new")
        raise KdstError("half way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", [False, True])
def test_a_folder_is_replaced_whole_or_kept(tmp_path: Path, fails: bool) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()
    with suppress(KdstError), whole_folder(folder) as part:
        (part / "new").touch()
        if fails:
            raise KdstError("half way")
    assert [p.name for p in folder.iterdir()] == ["old" if fails else "new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_move_leaves_the_one_there(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "kept").touch()
    with pytest.raises(FileNotFoundError):
        move_folder(tmp_path / "missing", tmp_path / "there")
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["kept"]


def test_what_a_kill_left_behind_is_removed_and_nothing_else(tmp_path: Path) -> None:
    pid = os.getpid()
    (tmp_path / f".model.{pid}" / "inside").mkdir(parents=True)
    (tmp_path / f".video.mp4.{pid}.mp4").touch()
    (tmp_path / f".result.json.{pid}").touch()
    (tmp_path / ".lock").touch()
    (tmp_path / "frame.12.png").touch()
    remove_temporaries(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "frame.12.png"]


@pytest.mark.parametrize(
    ("message", "line", "typed"),
    [
        ("one\ntwo", "one", "ValueError: one"),
        ("\n \n  two\n", "two", "ValueError: two"),
        ("", "ValueError", "ValueError"),
        (" \n", "ValueError", "ValueError"),
    ],
)
def test_an_exception_without_words_is_named_by_its_type(
    message: str, line: str, typed: str
) -> None:
    error = ValueError(message)
    assert (first_line(error), typed_line(error)) == (line, typed)
