"""Claims about the scores and what the shipped model scores."""

# mypy: disable-error-code="attr-defined, no-untyped-call"
# diffusers sets these attributes at run time or leaves them untyped

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from kdst_edit.default import weights_dir
from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import Mix, sample_scenes
from recipes.edit.evaluate import Sampling, score_inversion, score_pair, score_prompts
from recipes.edit.model import build_pipeline
from recipes.edit.score import main

shipped = pytest.mark.skipif(
    not (weights_dir() / "model_index.json").is_file(), reason="no weights in this checkout"
)


def test_a_directory_without_a_model_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "no model_index.json" in message
    assert message.count("\n") == 1


def test_an_untrained_model_follows_no_prompt() -> None:
    scores = score_prompts(build_pipeline(0), 8, Sampling(steps=2))
    assert scores["shape"].value < 0.5
    assert scores["pair_both"].value == 0


def test_exchanged_objects_do_not_count_as_right() -> None:
    scenes = sample_scenes(60, torch.Generator().manual_seed(0), Mix(pair=1.0))
    images = render(scenes)
    assert score_pair(scenes, images)["pair_both"].float().mean() > 0.95
    beside = torch.where(
        (scenes.relation == 0)[:, None, None, None], images.flip(3), images.flip(2)
    )
    assert score_pair(scenes, beside)["pair_colour"].float().mean() == 0


@shipped
@pytest.mark.slow
def test_the_shipped_model_scores_what_its_record_says(tmp_path: Path) -> None:
    recorded = json.loads((weights_dir() / "scores.json").read_text())["model"]
    pipeline = StableDiffusionPipeline.from_pretrained(weights_dir())
    fresh = score_prompts(pipeline, 128, Sampling(seed=9))
    fresh["inversion_psnr"] = score_inversion(pipeline, 16, 50, seed=9)
    for name, measured in fresh.items():
        entry = recorded[name]
        assert measured.low <= entry["high"], name
        assert measured.high >= entry["low"], name
