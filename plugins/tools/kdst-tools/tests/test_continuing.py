"""Prompts of a file, continued one after the other, and the functions for Python."""

import functools
import json
from pathlib import Path

import pytest

import kdst_core
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools import api
from kdst_tools.calls import plain
from kdst_tools.loop import continuing
from kdst_tools.models import layouts
from kdst_tools.models.pretrained import save
from kdst_tools.tools.kit import FunctionTool

pytest.importorskip("kdst_toolformer")
PROBLEM = "The hall had 822 marbles and used up 284. What remains is"
SHORT = {"max_tokens": 3, "max_input": 4}


def rows(out: Path) -> list[dict]:
    return list(continuing.rows(out / "artifacts" / "generations.jsonl"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = layouts.tokenizer()
    with silence_libraries():
        save(layouts.model("llama", len(tokenizer), context=96), tokenizer, path)
    return path


def write(path: Path, *texts: str) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_the_prompts_of_a_file_are_continued_in_their_order(tmp_path: Path):
    prompts = write(tmp_path / "p.jsonl", PROBLEM, "The mill", "The\u2028town")
    found = kdst_core.run("toolformer", prompts=prompts, out=tmp_path / "run", max_tokens=8)
    written = rows(tmp_path / "run")
    assert [row["prompt"] for row in written] == [PROBLEM, "The mill", "The\u2028town"]
    assert written[0]["calls"][0]["result"] == "538"
    assert found.metrics["prompts"] == 3
    assert found.metrics["calls"] >= 1
    assert "3 prompts continued" in found.summary[-1]
    one = kdst_core.run("toolformer", prompt=PROBLEM, out=tmp_path / "one", max_tokens=8)
    assert one.summary[0] == found.summary[0]
    assert "[Calculator(822 - 284)" in (tmp_path / "run" / "report.html").read_text()


def test_a_prompt_that_is_too_long_costs_itself_only(tmp_path: Path, model: Path):
    prompts = write(tmp_path / "p.jsonl", "A mill", "word " * 200, "A town")
    options = {"model": str(model), "prompts": prompts, **SHORT}
    found = kdst_core.run("toolformer", out=tmp_path / "run", **options)
    assert [row["prompt"] for row in rows(tmp_path / "run")] == ["A mill", "A town"]
    assert any("1 prompts could not be continued" in w for w in found.warnings)
    write(prompts, "word " * 200)
    with pytest.raises(KdstError, match="can be continued"):
        kdst_core.run("toolformer", out=tmp_path / "none", **options)


def test_a_stopped_run_goes_on_behind_its_last_group(tmp_path, model, monkeypatch):
    monkeypatch.setattr(continuing, "GROUP", 2)
    prompts = write(tmp_path / "p.jsonl", *(f"Text {i}" for i in range(5)))
    options = {"model": str(model), "prompts": prompts, "temperature": 1.0, **SHORT}
    kdst_core.run("toolformer", out=tmp_path / "whole", **options)
    annotate = pytest.importorskip("kdst_toolformer.method")
    usual, seen = annotate.Annotator.generate, []

    def generate(self, group, *, tools=True):
        seen.append([p.text for p in group])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return usual(self, group, tools=tools)

    monkeypatch.setattr(annotate.Annotator, "generate", generate)
    with pytest.raises(KeyboardInterrupt):
        kdst_core.run("toolformer", out=tmp_path / "cut", **options)
    kdst_core.run("toolformer", out=tmp_path / "cut", resume=True, **options)
    assert seen[2] == ["Text 2", "Text 3"]
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompts": "no.txt"}, r"--prompts .*no\.txt: no such file"),
        ({"prompts": "no.doc"}, "the format .doc is not known"),
        ({"prompts": "no.txt", "prompt": "x"}, "give one of them"),
        ({"prompt": "bad \udcff byte"}, "no text in UTF-8"),
    ],
)
def test_prompts_that_cannot_be_read_are_said(tmp_path: Path, options: dict, said: str):
    with pytest.raises(KdstError, match=said):
        kdst_core.run("toolformer", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_generate_and_annotate_are_functions():
    (found,) = api.generate([PROBLEM], max_tokens=8)
    assert "[Calculator(822 - 284) -> 538]" in found.annotated
    text = f"{PROBLEM} 538 marbles."
    first, second = api.annotate([text, Document(text)], tau_f=["-100"])
    assert plain(first.text) == plain(second.text) == text
    assert first.calls
    assert any(call.kept for call in first.calls)


def half(of: int) -> int:
    """Halve a number."""
    return of // 2


def test_functions_and_tools_are_taken_as_tools(model: Path):
    letters = FunctionTool("Letters", "A word.", lambda word, _: str(len(word)))
    found = api.annotate(
        ["A cat has 3 letters."],
        model=str(model),
        tools=["calculator", half, letters],
        sampler="seeded",
        max_input=4,
    )
    assert len(found) == 1
    with pytest.raises(KdstError, match="no option 'tau'"):
        api.generate(["x"], tau=1)
    with pytest.raises(KdstError, match="half of a surrogate pair"):
        api.generate(["half \ud83d"])
    with pytest.raises(KdstError, match="there is no tool"):
        api.generate(["x"], tools=["calculater"])


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([], "give --tools at least one of calc"),
        (["calculator", "calculator"], "two tools are called Calculator"),
        ([lambda x: x], "calls itself '<lambda>'"),
        ([3], "a name, a function or a tool, not int"),
        ([functools.partial(max, 1)], "hints of partial cannot be read"),
    ],
)
def test_what_is_no_set_of_tools_is_refused_before_a_model_is_loaded(tools: list, said: str):
    with pytest.raises(KdstError, match=said):
        api.generate(["One and"], tools=tools, model="nowhere")


def test_a_function_that_another_process_can_import_runs_there():
    from textwrap import shorten

    assert api._source(shorten) == "textwrap:shorten"
    assert api._source(lambda word: word) is None
    assert api._source(half) is None
