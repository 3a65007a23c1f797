"""Training: deterministic, resumable bit for bit, evaluated as it goes; hypotheses as a stage."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve

from kdst_authors.testing import make_run
from kdst_core.contracts import InvertRequest, Training
from kdst_core.errors import KdstError
from kdst_vec2text import Vec2TextOptions, trainer
from kdst_vec2text.examples import Examples, Ragged, noisy
from kdst_vec2text.fit import Services, fit, split
from kdst_vec2text.hypotheses import HypothesisMaker
from kdst_vec2text.method import cut_texts, invert_request
from kdst_vec2text.models import Hypothesiser, t5_config
from kdst_vec2text.pair import Vec2Text, load_corrector
from kdst_vec2text.shards import joined, sharded
from kdst_vec2text.tokens import train_tokens
from kdst_vec2text.trainer import Trainer, TrainSettings

SHAPE = {"d_model": 8, "d_kv": 4, "num_heads": 2, "d_ff": 8, "num_layers": 1}


class Killed(Exception):
    """Stands for a kill between two updates."""


def small_trainer(path: Path, tools: Any, toy: Any, log: Any = None, **how: Any) -> Trainer:
    """A trainer of a very small hypothesiser with dropout and noise."""
    texts = tools.sentences(40)
    tokens = train_tokens(texts, 280)
    pairs = Examples(Ragged.of(tokens.ids(texts, 12)), toy(texts))
    torch.manual_seed(0)
    fields = {**SHAPE, "vocab_size": tokens.size, "num_decoder_layers": 1}
    network = Hypothesiser(t5_config(fields), 24, 2)
    settings = TrainSettings(**{"epochs": 4, "batch": 8, "noise": 0.1, "stop_after": None, **how})
    log = log or (lambda *_: None)
    return Trainer(network, pairs, pairs, settings, path, log=log, label="h")


def test_training_resumes_bit_for_bit(
    tmp_path: Path, tools: Any, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[str, float, int]] = []
    whole = small_trainer(tmp_path / "whole.pt", tools, toy, lambda *e: logged.append(e))
    score = whole.train(tools.quiet)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1.0)
    again: list[tuple[str, float, int]] = []
    for stop in (7, 5, None):
        part = small_trainer(tmp_path / "part.pt", tools, toy, lambda *e: again.append(e))
        done = 0

        def counted(count: int, limit: Any = stop) -> None:
            nonlocal done
            done += 1
            if limit is not None and done > limit:
                raise Killed

        class Stopping:
            def __call__(self, total: int, label: str) -> Any:
                return self

            def __enter__(self) -> Any:
                return counted

            def __exit__(self, *_: object) -> None:
                return None

        if stop is None:
            again.clear()
            assert part.train(tools.quiet) == score
        else:
            with pytest.raises(Killed):
                part.train(Stopping())
    state = part.network.state_dict()
    assert all(torch.equal(v, state[n]) for n, v in whole.network.state_dict().items())
    assert again == logged, "an evaluation is lost or doubled"


def test_loss_falls_and_the_best_weights_are_kept(tmp_path: Path, tools: Any, toy: Any) -> None:
    made = small_trainer(tmp_path / "t.pt", tools, toy, noise=0.0, epochs=24, learning_rate=1e-2)
    score = made.train(tools.quiet)
    losses = [numbers["loss"] for _, numbers in made.history]
    assert losses[-1] < 0.7 * losses[0]
    assert score.loss == pytest.approx(min(losses), rel=1e-5)


def test_training_ends_when_the_loss_does_not_fall(tmp_path: Path, tools: Any, toy: Any) -> None:
    made = small_trainer(tmp_path / "t.pt", tools, toy, learning_rate=5.0, epochs=50, stop_after=2)
    made.train(tools.quiet)
    assert made.updates < made.total
    assert made.since_best == 2


def test_noise_is_at_most_lambda_and_keeps_lengths() -> None:
    e = torch.nn.functional.normalize(torch.ones(4000, 64), dim=1)
    assert noisy(e, 0.0, None) is e
    found = noisy(e, 0.1, torch.Generator().manual_seed(0))
    assert torch.allclose(found.norm(dim=1), torch.ones(4000), atol=1e-5)
    angle = torch.cosine_similarity(found, e, dim=1)
    # |λ n|² is about 64 λ², so that the tangent of the angle is 8 λ for λ between 0 and .1.
    tangent = (1 / angle.double().pow(2) - 1).clamp(min=0).sqrt()
    assert float(tangent.median()) == pytest.approx(0.4, rel=0.1)
    assert float(tangent.quantile(0.95)) == pytest.approx(0.76, rel=0.15)
    assert float(tangent.min()) < 0.02


def test_batches_hold_every_example_once(toy: Any, tools: Any) -> None:
    texts = tools.sentences(101)
    ids = Ragged.of(train_tokens(texts, 280).ids(texts, 12))
    pairs = Examples(ids, toy(texts))
    batches = pairs.batches(8, torch.Generator().manual_seed(1))
    assert sorted(i for b in batches for i in b) == list(range(101))
    again = pairs.batches(8, torch.Generator().manual_seed(1))
    assert batches == again


def test_shards_on_disk_are_not_computed_again(tmp_path: Path, tools: Any) -> None:
    asked: list[range] = []

    def compute(rows: range) -> dict[str, torch.Tensor]:
        if len(asked) == 2 and not (tmp_path / "go").exists():
            raise Killed
        asked.append(rows)
        return {"x": torch.tensor(list(rows))}

    with pytest.raises(Killed):
        sharded(tmp_path / "s", 10, 4, compute, tools.quiet, "x")
    (tmp_path / "go").touch()
    found = sharded(tmp_path / "s", 10, 4, compute, tools.quiet, "x")
    assert asked == [range(0, 4), range(4, 8), range(8, 10)]
    assert joined(found, "x").tolist() == list(range(10))
    assert not [p for p in (tmp_path / "s").iterdir() if p.name.startswith(".")]


def test_hypotheses_that_are_right_are_left_out(
    inverter: Vec2Text, toy: Any, tools: Any, tmp_path: Path
) -> None:
    texts = tools.sentences(60, seed=9)
    ids = Ragged.of(inverter.tokens.ids(texts, 12))
    maker = HypothesisMaker(inverter.hypothesiser, inverter.tokens, toy, count=2, max_tokens=12)
    e = toy(texts)
    made = maker.examples(ids, e, tmp_path / "h", tools.quiet, "hypotheses")
    assert made.x_hat is not None
    assert made.e_hat is not None
    assert made.source is not None
    hypotheses = inverter.tokens.texts(made.x_hat.row(i) for i in range(len(made)))
    for i, text in enumerate(hypotheses):
        assert text != texts[int(made.source[i])]
        assert torch.allclose(made.e_hat[i], toy([text])[0], atol=1e-6)
    assert 0 < len(made) < 120


def test_no_text_is_trained_on_and_held_out(tools: Any) -> None:
    texts = tools.sentences(300)
    e = torch.arange(300.0)[:, None]
    made = split(texts, e, torch.Generator().manual_seed(0))
    assert not set(made.training) & set(made.validation)
    assert made.e is not None
    assert [texts[int(i)] for i in made.e[:, 0]] == made.training
    with pytest.raises(KdstError, match="two different texts"):
        split(["a", "a"], None, torch.Generator())


def options_of(**changes: Any) -> Vec2TextOptions:
    """A fit of a few updates."""
    small = {"epochs": 1, "train_batch": 32, "max_seq_length": 12, "num_repeat_tokens": 2}
    return Vec2TextOptions(**{**small, "steps": 1, "beam": 2, **changes})


def test_a_fit_from_given_pairs_asks_for_hypotheses_only(
    tmp_path: Path, tools: Any, toy: Any
) -> None:
    texts = tools.sentences(60)
    e = toy(texts)
    toy.asked.clear()
    training = Training(texts, tmp_path / "model", embeddings=e)
    request = InvertRequest(e[:3], toy, torch.Generator().manual_seed(0), training=training)
    run = make_run(tmp_path / "run")
    found = list(invert_request(request, options_of(), run))
    assert found[-1].last
    assert set(texts[:16]) <= set(toy.asked) | set(texts), "examples are checked once"
    assert not (tmp_path / "model.fit").exists()
    model = load_corrector(str(tmp_path / "model"))
    assert model.config.embedder_model_name == "toy"
    assert model.config.max_seq_length == 12
    before = (tmp_path / "model" / "corrector" / "model.safetensors").read_bytes()
    again = list(invert_request(evolve(request), options_of(), run))
    assert again[-1].texts == found[-1].texts
    assert (tmp_path / "model" / "corrector" / "model.safetensors").read_bytes() == before


def test_texts_that_a_fit_cuts_are_counted(inverter: Vec2Text) -> None:
    assert cut_texts(inverter, ["max took iron"]) == ()
    (said,) = cut_texts(inverter, ["max took iron " * 9, "max"])
    assert "1 of 2 training texts have more than 12 tokens" in said


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import conftest
from pathlib import Path
from kdst_vec2text import trainer
from kdst_vec2text.fit import Services, fit
trainer.CHECKPOINT_SECONDS = -1.0
class Slow(conftest.Toy):
    def __call__(self, texts):
        time.sleep(0.3)
        return super().__call__(texts)
services = Services(Path({work!r}), lambda *e: None, conftest.quiet)
fit(conftest.toy_texts(150), Slow(), conftest.toy_settings(3), services).save(Path({out!r}))
"""


@pytest.mark.slow
def test_a_fit_killed_at_any_stage_ends_as_if_it_had_not_been(tmp_path: Path, tools: Any) -> None:
    services = Services(tmp_path / "whole", lambda *_: None, tools.quiet)
    whole = fit(tools.toy_texts(150), tools.toy(), tools.toy_settings(3), services)
    whole.save(tmp_path / "expected")
    out, work = tmp_path / "model", tmp_path / "work"
    code = KILLED.format(tests=str(Path(__file__).parent), work=str(work), out=str(out))
    seen = set()
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-c", code])
        state = {p.name for p in work.glob("*")} if work.exists() else set()
        while process.poll() is None:
            time.sleep(0.2)
            now = {p.name for p in work.glob("*")} if work.exists() else set()
            if now != state and now - state - seen:
                seen |= now
                process.kill()
                process.wait()
                break
        if process.returncode == 0:
            break
    assert {"hypothesiser.pt", "hypotheses", "corrector.pt"} <= seen
    for name in ("hypothesiser", "corrector"):
        file = Path(name) / "model.safetensors"
        assert (out / file).read_bytes() == (tmp_path / "expected" / file).read_bytes()
