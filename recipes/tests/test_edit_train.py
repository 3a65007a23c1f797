"""Claims about training: the same seed trains the same model, killed or not."""

# mypy: disable-error-code="attr-defined"
# diffusers sets these attributes at run time

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdst_edit.default import weights_dir
from recipes.edit.__main__ import main
from recipes.edit.runlog import Log
from recipes.edit.trainer import Recipe, Trainer

SMALL = [
    *["--images", "24", "--batch", "4", "--warmup", "2", "--score-every", "1000", "--no-bfloat16"]
]


def losses(out: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (out / "loss.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


@pytest.fixture
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the scores at the end of a run; they are a matter of their own."""
    monkeypatch.setattr("recipes.edit.__main__._scores", lambda trainer: {})


@pytest.mark.parametrize(("bfloat16", "half"), [(True, 1), (False, 3)])
def test_a_run_continued_from_a_checkpoint_equals_one_that_never_stopped(
    tmp_path: Path, bfloat16: bool, half: int
) -> None:
    # in bfloat16 a step takes seconds where the processor has no such arithmetic
    recipe = Recipe(images=24, batch=4, warmup=2, single_until=4, bfloat16=bfloat16)
    whole = Trainer(recipe, torch.device("cpu"))
    curve = [whole.train_step() for _ in range(2 * half)]
    first = Trainer(recipe, torch.device("cpu"))
    start = [first.train_step() for _ in range(half)]
    first.save(tmp_path / "state.pt")
    second = Trainer(recipe, torch.device("cpu"))
    second.load(tmp_path / "state.pt")
    assert start + [second.train_step() for _ in range(half)] == curve
    for name in ("master", "average", "worker"):
        one, other = getattr(whole, name).tensors(), getattr(second, name).tensors()
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)), name


def test_training_can_begin_with_the_shipped_weights(tmp_path: Path) -> None:
    shipped = weights_dir()
    begun = Trainer(Recipe(seed=5, bfloat16=False, start_from=str(shipped)), torch.device("cpu"))
    fresh = Trainer(Recipe(seed=5, bfloat16=False), torch.device("cpu"))
    saved = load_file(shipped / "unet/diffusion_pytorch_model.safetensors")
    for network in (begun.master, begun.average):
        assert all(torch.equal(v, saved[k]) for k, v in network.unet.state_dict().items())
    assert begun.train_step() < 0.3 * fresh.train_step()
    with pytest.raises(ValueError, match="does not exist"):
        Trainer(Recipe(start_from=str(tmp_path)), torch.device("cpu"))


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_an_attention_weight_draws_the_words_to_their_objects(weight: float) -> None:
    recipe = Recipe(images=10_000, batch=8, warmup=1, attention_weight=weight, bfloat16=False)
    trainer, errors = Trainer(recipe, torch.device("cpu")), []
    for _ in range(12):
        trainer.step = 0
        trainer.train_step()
        errors.append(trainer.attention_error)
    assert (errors[-1] < 0.7 * errors[0]) == (weight > 0)


def test_training_on_one_batch_lowers_its_loss() -> None:
    trainer = Trainer(Recipe(images=10_000, batch=4, warmup=1, bfloat16=False), torch.device("cpu"))
    curve = []
    for _ in range(12):
        trainer.step = 0
        curve.append(trainer.train_step())
    assert min(curve[-3:]) < 0.7 * curve[0]


@pytest.mark.usefixtures("quick_scores")
def test_a_changed_recipe_is_refused_unless_amended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), *SMALL]) == 0
    assert main([str(tmp_path), *SMALL, "--seed", "1"]) == 2
    message = capsys.readouterr().err
    assert "seed 0 → 1" in message
    assert "--amend" in message
    assert main([str(tmp_path), *SMALL, "--images", "28", "--amend"]) == 0
    history = json.loads((tmp_path / "recipe.json").read_text())
    assert [entry["from_step"] for entry in history] == [0, 6]
    assert len(losses(tmp_path)) == 7


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--batch", "0", "batch is 0"),
        ("--ema", "1.5", "ema is 1.5"),
        ("--images", "-1", "images"),
        ("--attention-weight", "-1", "attention_weight is -1"),
    ],
)
def test_a_bad_option_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, said: str
) -> None:
    assert main([str(tmp_path / "run"), flag, value]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_log_drops_what_a_killed_run_wrote_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "loss.jsonl"
    path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"step": 3, "lo')
    log = Log(path, step=1)
    log.write(step=2, loss=1.0)
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [3.0, 1.0]
    assert log.recent("loss") == 2.0


@pytest.mark.slow
def test_2000_images_from_seed_0_give_one_loss_curve_also_when_killed(tmp_path: Path) -> None:
    options = ["--images", "2000", "--save-every", "10", "--score-every", "1000000"]

    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "recipes.edit", str(tmp_path / name), *options]

    for name in ("once", "twice"):
        subprocess.run(command(name), check=True)
    process = subprocess.Popen(command("killed"))
    log = tmp_path / "killed" / "loss.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 33:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(command("killed"), check=True)
    curve = losses(tmp_path / "once")
    assert len(curve) == 63
    assert losses(tmp_path / "twice") == curve
    assert losses(tmp_path / "killed") == curve
