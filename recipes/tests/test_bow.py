"""The recipe of the embedded lexicon: texts are cut and embedded once, and what is fitted reads again."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from kdst_bow.lexicon import load
from recipes.bow import __main__ as recipe

LINES = [f"The {a} {b} was late because of the {c} today." for a in ("red", "old", "new")
         for b in ("ferry", "train", "bus") for c in ("fog", "snow", "strike")]  # fmt: skip


def test_a_lexicon_is_fitted_from_lines_and_goes_on_from_its_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "OPEN", tmp_path / "made")
    file, work = tmp_path / "lines.txt", tmp_path / "work"
    file.write_text("\n".join([*LINES, LINES[0]]) + "\n", encoding="utf-8")
    asked = [str(file), "--work", str(work), "--vocabulary", "12"]
    done = CliRunner().invoke(recipe.main, asked)
    assert done.exit_code == 0, done.output
    assert f"{len(LINES)} texts" in done.output
    kept = {p: p.stat().st_mtime_ns for p in work.iterdir()}
    assert CliRunner().invoke(recipe.main, asked).exit_code == 0
    assert kept == {p: p.stat().st_mtime_ns for p in work.iterdir()}
    found = load(str(tmp_path / "made"))
    assert len(found.words) == 12
    assert list(found.texts) == list(recipe.KNOWN)


def test_texts_are_cut_to_their_first_tokens_and_kept_once() -> None:
    long = " ".join(["harbour"] * 40)
    (cut,) = recipe.cut([long, long])
    assert len(cut.split()) == recipe.TOKENS
