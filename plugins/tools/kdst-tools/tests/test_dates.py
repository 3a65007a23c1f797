"""The day that the calendar answers with where a text has none."""

import datetime
from pathlib import Path

import pytest

import kdst_core
from kdst_core.contracts import Document, Generation
from kdst_core.errors import KdstError
from kdst_tools.corpora.dates import day
from kdst_tools.corpora.sources import corpus
from kdst_tools.inputs import ToolsInputs

FRIDAY = datetime.date(2024, 3, 15)


def test_the_day_is_today_or_the_one_given():
    assert day("2024-03-15") == day(" 2024-03-15 ") == FRIDAY
    assert abs(day(None) - datetime.date.today()) <= datetime.timedelta(days=1)


@pytest.mark.parametrize("given", ["", "15.3.2024", "2024-02-30", "today"])
def test_what_is_no_date_is_refused_with_the_form_that_is_one(given: str):
    with pytest.raises(KdstError, match=r"is no date; write it as YYYY-MM-DD"):
        day(given)


def test_texts_without_a_date_have_the_one_given_and_others_keep_theirs(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "date": "2020-01-01"}\nbroken\n')
    own = [d.date for d in corpus(ToolsInputs(texts=path), 0, 1)]
    assert own == [None, datetime.date(2020, 1, 1)]
    dated = corpus(ToolsInputs(texts=path, date="2024-03-15"), 0, 1)
    assert [d.date for d in dated] == [FRIDAY, datetime.date(2020, 1, 1)]
    assert dated.count == 2
    assert "line 3" in dated.warnings[0]


def test_a_prompt_is_of_the_day_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    annotate = pytest.importorskip("kdst_toolformer.method")
    seen: list[datetime.date | None] = []

    def generate(self, prompts: list[Document], *, tools: bool = True) -> list[Generation]:
        seen.extend(p.date for p in prompts)
        return [Generation(p, "", "") for p in prompts]

    monkeypatch.setattr(annotate.Annotator, "generate", generate)
    for number, options in enumerate(({"date": "2024-03-15"}, {})):
        kdst_core.run("toolformer", prompt="Now", out=tmp_path / str(number), **options)
    assert seen[0] == FRIDAY
    assert seen[1] is not None
    assert seen[1] > FRIDAY
