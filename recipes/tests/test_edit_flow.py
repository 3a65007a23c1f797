"""Claims about the flow transformer's recipe: its objective, its pipeline, its training."""

# mypy: disable-error-code="attr-defined, no-untyped-call"
# diffusers sets these attributes at run time or leaves them untyped

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from torch.nn import functional as F

from kdst_edit.default import weights_dir
from kdst_edit.shapes.scene import Mix
from recipes.edit.export import export
from recipes.edit.model import token_ids
from recipes.edit_flow import score
from recipes.edit_flow.__main__ import main
from recipes.edit_flow.attention import CountedAttention
from recipes.edit_flow.evaluate import Sampling, sample, score_prompts
from recipes.edit_flow.model import TOKENS, Size, build_pipeline, build_tokenizer, encode
from recipes.edit_flow.objective import draw_batch, flow_errors, logit_normal
from recipes.edit_flow.trainer import Recipe, Trainer

TINY = Size(patch=8, width=32, heads=2, blocks=2)
SMALL = {"images": 24, "batch": 4, "warmup": 2, "patch": 8, "width": 32, "heads": 2, "blocks": 2}
CPU = torch.device("cpu")
PROMPTS = ["a red disc on a white background", "a blue bar above a cyan ring on a pink background"]


@pytest.fixture(scope="module")
def stirred() -> StableDiffusion3Pipeline:
    """A pipeline no layer of which is zero any more."""
    pipeline, generator = build_pipeline(0, TINY), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in pipeline.transformer.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return pipeline


def arguments(out: Path, **changed: object) -> list[str]:
    options = SMALL | {"score_every": 1000} | changed
    return [str(out), *(f"--{k.replace('_', '-')}={v}" for k, v in options.items())]


@torch.no_grad()
@pytest.mark.parametrize("count", [16, 256])
def test_one_counted_row_of_zeros_equals_the_rows_that_the_stock_pipeline_appends(
    stirred: StableDiffusion3Pipeline, count: int
) -> None:
    stock, _, pooled, _ = stirred.encode_prompt(
        PROMPTS, None, None, do_classifier_free_guidance=False, max_sequence_length=count
    )
    words, own = encode(
        (stirred.text_encoder, stirred.text_encoder_2), token_ids(stirred.tokenizer, PROMPTS)
    )
    assert torch.equal(own, pooled)
    assert torch.equal(F.pad(words, (0, 0, 0, count)), stock)
    noisy = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    levels = torch.tensor([200.0, 900.0])
    transformer, attention = stirred.transformer, CountedAttention()
    wanted = transformer(noisy, stock, pooled, levels).sample
    before = transformer.attn_processors
    transformer.set_attn_processor(attention)
    once = transformer(noisy, F.pad(words, (0, 0, 0, 1)), pooled, levels).sample
    attention.count = count
    counted = transformer(noisy, F.pad(words, (0, 0, 0, 1)), pooled, levels).sample
    transformer.set_attn_processor(before)
    torch.testing.assert_close(counted, wanted, atol=1e-5, rtol=1e-5)
    assert (once - wanted).abs().max() > 1e-3


def test_captions_are_pooled_where_all_of_them_has_been_read() -> None:
    pipeline = build_pipeline(0, TINY)
    texts = [PROMPTS[0], PROMPTS[0].replace("white", "black")]
    tokens = token_ids(pipeline.tokenizer, texts)
    _, pooled = encode((pipeline.text_encoder, pipeline.text_encoder_2), tokens)
    assert build_tokenizer(TOKENS).convert_tokens_to_ids("<end>") == len(TOKENS) - 1
    for half in pooled.split([64, 32], 1):
        assert (half[0] - half[1]).abs().max() > 1e-3


@torch.no_grad()
def test_the_error_is_that_of_noise_minus_image_on_the_straight_path() -> None:
    pipeline, seen = build_pipeline(0, TINY), dict[str, torch.Tensor]()
    batch = draw_batch(8, torch.Generator().manual_seed(0), pipeline.tokenizer, Mix(), 0.5)
    words, pooled = encode((pipeline.text_encoder, pipeline.text_encoder_2), batch.tokens)

    def forward(noisy: torch.Tensor, *given: torch.Tensor) -> object:
        seen["noisy"], seen["levels"] = noisy, given[-1]
        return type("Output", (), {"sample": torch.full_like(noisy, 0.25)})

    pipeline.transformer.forward = forward
    errors = flow_errors(pipeline.transformer, words, pooled, batch)
    for k in range(8):
        t, image, noise = batch.times[k].double(), batch.images[k].double(), batch.noise[k].double()
        torch.testing.assert_close(seen["noisy"][k].double(), (1 - t) * image + t * noise)
        assert float(seen["levels"][k]) == pytest.approx(1000 * float(t))
        assert float(errors[k]) == pytest.approx(float((noise - image - 0.25).square().mean()))


def test_times_are_logit_normal_and_captions_dropped_at_their_share() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.cat([logit_normal(32, generator) for _ in range(100)]).logit()
    assert abs(float(logits.mean())) < 0.01
    assert float(logits.std()) == pytest.approx(1, abs=0.02)
    batch = draw_batch(400, generator, build_tokenizer(TOKENS), Mix(), 0.25)
    empty = (batch.tokens == 0).sum(1) == 14
    assert float(empty.float().mean()) == pytest.approx(0.25, abs=0.06)


def test_a_run_continued_from_a_checkpoint_equals_one_that_never_stopped(tmp_path: Path) -> None:
    recipe = Recipe(**SMALL, single_until=4)  # type: ignore[arg-type]
    whole, first, second = (Trainer(recipe, CPU) for _ in range(3))
    curve = [whole.train_step() for _ in range(6)]
    start = [first.train_step() for _ in range(3)]
    first.save(tmp_path / "state.pt")
    second.load(tmp_path / "state.pt")
    assert start + [second.train_step() for _ in range(3)] == curve
    for name in ("master", "average", "worker"):
        one, other = getattr(whole, name).tensors(), getattr(second, name).tensors()
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)), name


def test_training_on_one_batch_lowers_its_loss() -> None:
    trainer = Trainer(Recipe(**SMALL | {"images": 10_000, "warmup": 1}), CPU)  # type: ignore[arg-type]
    curve = []
    for _ in range(40):
        trainer.step = 0
        curve.append(trainer.train_step())
    assert min(curve[-3:]) < 0.8 * curve[0]


def test_a_run_leaves_a_directory_that_the_stock_pipeline_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipes.edit_flow.__main__._scores", lambda trainer: {"shape": 0.0})
    run = tmp_path / "run"
    assert main(arguments(run)) == 0
    rows = [json.loads(line) for line in (run / "loss.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert main(arguments(run, seed=1)) == 2
    assert export([str(run), str(tmp_path / "weights")], Recipe, Trainer) == 0
    ended, exported = (
        StableDiffusion3Pipeline.from_pretrained(path)
        for path in (run / "weights", tmp_path / "weights")
    )
    how = Sampling(steps=2, zeros=4)
    images = sample(ended, PROMPTS, how)
    assert images.shape == (2, 3, 32, 32)
    assert torch.equal(images, sample(exported, PROMPTS, how))
    assert score_prompts(ended, 4, how)["pair_both"].value == 0


SHIPPED = weights_dir("tiny-flow")


def test_the_shipped_weights_are_small_and_of_stock_classes() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".png", ".jsonl"}
    index = json.loads((SHIPPED / "model_index.json").read_text())
    libraries = {value[0] for value in index.values() if isinstance(value, list)}
    assert libraries <= {"diffusers", "transformers", None}
    recorded = json.loads((SHIPPED / "scores.json").read_text())["model"]
    assert all(recorded[name]["value"] >= least for name, least in score.WANTED.items())
    assert all(recorded[name]["count"] == 512 for name in score.WANTED)


def test_the_shipped_weights_draw_what_a_prompt_names() -> None:
    pipeline = StableDiffusion3Pipeline.from_pretrained(SHIPPED)
    found = score_prompts(pipeline, 16, Sampling(steps=8, zeros=16))
    assert found["colour"].value >= 0.8
    assert found["shape"].value >= 0.6


@pytest.mark.slow
def test_the_shipped_weights_score_what_their_record_says() -> None:
    record = json.loads((SHIPPED / "scores.json").read_text())
    recorded, zeros = record["model"], record["sampling"]["zeros"]
    pipeline = StableDiffusion3Pipeline.from_pretrained(SHIPPED)
    for name, measured in score_prompts(pipeline, 128, Sampling(seed=9, zeros=zeros)).items():
        assert measured.low <= recorded[name]["high"], name
        assert measured.high >= recorded[name]["low"], name


def test_a_directory_without_a_run_or_model_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export([str(tmp_path), str(tmp_path / "weights")], Recipe, Trainer) == 2
    assert score.main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "cannot export" in message
    assert "no model_index.json" in message
    assert message.count("\n") == 2


@pytest.mark.parametrize(
    ("option", "value", "said"), [("blocks", 0, "blocks is 0"), ("patch", 5, "patch divides 32")]
)
def test_a_size_that_cannot_be_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: int, said: str
) -> None:
    assert main(arguments(tmp_path / "run", **{option: value})) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "run").exists()
