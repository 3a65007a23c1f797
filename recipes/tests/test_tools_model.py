"""The tiny model: what it starts from, how it is trained, what ships."""

import json
from pathlib import Path
from random import Random

import pytest
import torch
from filelock import FileLock

from kdst_tools.calls.tokens import CallTokens
from kdst_tools.default import load, weights_dir
from kdst_tools.default.texts import documents
from recipes.tools.__main__ import main
from recipes.tools.model import build_model
from recipes.tools.tokenizer import train_tokenizer
from recipes.tools.trainer import Trainer

STAGES = ("base", "warm", "shipped")
QUICK = ["--base-steps", "6", "--warm-steps", "3", "--demonstrations", "20"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_shipped_stage_is_small_and_keeps_digits_apart(stage: str) -> None:
    model, tokenizer = load(stage)  # type: ignore[arg-type]
    files = list(weights_dir(stage).iterdir())  # type: ignore[arg-type]
    assert sum(file.stat().st_size for file in files) < 5_000_000
    assert not any(file.suffix in (".bin", ".pt") for file in files)
    assert model.config.vocab_size == len(tokenizer)
    text = "Anna had 412 pears. [Calculator(412 + 77) -> 489] Überall\n “x”"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert all(sum(map(str.isdigit, tokenizer.decode([i]))) <= 1 for i in range(len(tokenizer)))
    tokens = CallTokens(tokenizer)
    assert tokens.start == " ["
    assert (len(tokens.arrow), len(tokens.end)) == (1, 1)


def test_untrained_heads_look_one_and_two_tokens_back_and_then_for_a_repetition() -> None:
    model = build_model(300, 0).eval()
    model.set_attn_implementation("eager")
    ids = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:24].repeat(2)[None]
    with torch.no_grad():
        first, second, *_ = model(input_ids=ids, output_attentions=True).attentions
    for head in (0, 1):
        back = first[0, head].diagonal(-1 - head)
        assert back[2:].min() > 0.9
    found = second[0, :, 30:47].argmax(-1)
    expected = torch.arange(30, 47) - 23
    assert (found == expected).float().mean() > 0.8


def test_a_stopped_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipes.tools import __main__ as train

    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    monkeypatch.setattr(train, "scores", lambda *_: {})
    monkeypatch.setattr(train, "tokenizer_texts", lambda _: _few_texts())
    assert main([str(tmp_path / "whole"), *QUICK]) == 0
    real, steps = Trainer._train, iter(range(5))

    def stopping(self: Trainer, batch: torch.Tensor) -> float:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(Trainer, "_train", stopping)
    assert main([str(tmp_path / "cut"), *QUICK]) == 130
    monkeypatch.setattr(Trainer, "_train", real)
    assert main([str(tmp_path / "cut"), *QUICK]) == 0
    for stage in ("base", "warm"):
        whole, cut = (tmp_path / name / stage / "model.safetensors" for name in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "cut" / "base.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [6]


def _few_texts() -> list[str]:
    return [document.text for document in documents(300, Random(0))]


def test_two_processes_cannot_train_in_one_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(tmp_path / "train.lock"):
        assert main([str(tmp_path), *QUICK]) == 2
    assert "another process trains" in capsys.readouterr().err


def test_another_recipe_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipes.tools import __main__ as train

    monkeypatch.setattr(train, "scores", lambda *_: {})
    monkeypatch.setattr(train, "tokenizer_texts", lambda _: _few_texts())
    assert main([str(tmp_path), *QUICK]) == 0
    assert main([str(tmp_path), *QUICK, "--seed", "1"]) == 2
    assert "made by another recipe" in capsys.readouterr().err


def test_a_tokenizer_survives_any_text() -> None:
    tokenizer = train_tokenizer(_few_texts())
    for text in ("a  b\t\n", "½ [x](y) -> z]]", "日本語 🎈 \x00", " ->->", "12,345.67"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
