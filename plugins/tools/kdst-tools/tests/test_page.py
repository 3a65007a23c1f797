"""The commands on the page of tool use, each carried out with small files of the names it shows."""

import itertools
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdst_core.bench.libraries import silence_libraries
from kdst_core.cli import cli
from kdst_tools.models import layouts
from kdst_tools.models.pretrained import save

PAGE = Path(__file__).parents[4] / "docs" / "tools.md"
SHORT = {"K": "1", "M": "1", "MAX_INPUT": "4", "MAX_TOKENS": "4", "STEPS": "1", "DOCUMENTS": "3"}
"""Values that the page's commands leave open, so that they are quick."""

pytest.importorskip("kdst_toolformer")
if not PAGE.is_file():
    pytest.skip("the page is not beside the package", allow_module_level=True)


def blocks(language: str) -> list[str]:
    """The blocks of the page in a language."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[list[str]]:
    """The commands of the page's console blocks, as words."""
    lines = "".join(blocks("console")).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words and words[0] == "kdst"]


def test_the_functions_of_the_page_run(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    block = next(b for b in blocks("python") if "kdst_tools.api" in b)
    (tmp_path / "page.py").write_text(block)
    runpy.run_path(str(tmp_path / "page.py"))
    assert "-> 538]" in capsys.readouterr().out


def files(folder: Path) -> None:
    """What the commands name."""
    tokenizer = layouts.tokenizer()
    with silence_libraries():
        save(layouts.model("gpt2", len(tokenizer), context=1024), tokenizer, folder / "DIR")
    (folder / "corpus.jsonl").write_text('{"text": "The mill sold 18 sacks and 7 more."}\n')
    (folder / "prompts.txt").write_text("The mill sold\n\nA town\n")
    (folder / "wiki.jsonl").write_text('{"title": "Mill", "text": "A mill grinds corn."}\n')
    names = map("".join, itertools.product("abcdefghij", repeat=3))
    rows = [f'"{name} had number0 and got number1 . How many now ?",4 3,7' for name in names]
    (folder / "mawps.csv").write_text("\n".join(["Question,Numbers,Answer", *rows]) + "\n")
    problem = {"Body": "Bo has 2 cups", "Question": "How many are these?", "Answer": 2.0}
    (folder / "SVAMP.json").write_text(json.dumps([problem]))


def keep_a_call(run: Path) -> None:
    """Put a call into a run's text, which no random model would keep."""
    row = {"annotated": "The mill sold 18 sacks and 7 more, [Calculator(18 + 7) -> 25] 25."}
    (run / "artifacts" / "annotations.jsonl").write_text(json.dumps(row) + "\n")


def test_every_command_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, value in SHORT.items():
        monkeypatch.setenv(f"KDST_TOOLFORMER_{name}", value)
    found = [words for words in commands() if words != ["kdst", "run", "toolformer"]]
    assert len(found) > 3
    for words in found:
        if words[1:3] == ["tools", "export"]:
            keep_a_call(tmp_path / words[3])
        done = CliRunner().invoke(cli, words[1:])
        assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}"
