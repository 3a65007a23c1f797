"""sega does what it claims, and conforms."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdst_authors.testing import make_run, parametrize_checks
from kdst_core.bench.contract import Check
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError
from kdst_edit.checks import small_request
from kdst_edit.models.latents import condition, ddim, decode
from kdst_edit.models.pipelines import load
from kdst_sega import Options, edit
from kdst_sega.method import above_percentile, concepts


def exact_request(**changes: Any) -> EditRequest:
    """The small request with the model in float64."""
    with silence_libraries("diffusers"):
        pipeline = load("tiny").to(torch.float64)
    request = small_request()
    return attrs.evolve(request, pipeline=pipeline, latents=request.latents.double(), **changes)


@torch.no_grad()
def test_sega_equals_algorithm_1_written_out_in_float64(tmp_path: Path) -> None:
    request = exact_request()
    options = Options(warmup=0.25, threshold=0.8)
    ours = edit(request, options, make_run(tmp_path)).images[0].image
    scheduler = ddim(request.pipeline)
    scheduler.set_timesteps(request.num_steps)
    assert scheduler.config.prediction_type == "v_prediction"
    prompts = ["", request.source_prompt, request.targets[0]]
    words = condition(request.pipeline, prompts, (32, 32)).kwargs()
    z, nu = request.latents, torch.zeros_like(request.latents)
    times = scheduler.timesteps.tolist()
    for step, t in enumerate(times):
        a = scheduler.alphas_cumprod[t].double()
        v = request.pipeline.unet(z.expand(3, -1, -1, -1), t, **words).sample
        none, source, target = (a.sqrt() * v + (1 - a).sqrt() * z).split(1)
        gamma = torch.zeros_like(z)
        for psi in (target - none, none - source):
            mu = options.scale * (psi.abs() >= psi.abs().flatten().quantile(options.threshold))
            gamma += mu * psi
        gamma = gamma + options.momentum_scale * nu
        nu = options.momentum_beta * nu + (1 - options.momentum_beta) * gamma
        e = none + request.guidance * (source - none)
        if step >= 1:
            e = e + gamma
        last = step + 1 == len(times)
        b = scheduler.final_alpha_cumprod if last else scheduler.alphas_cumprod[times[step + 1]]
        b = torch.as_tensor(b).double()
        z = b.sqrt() * (z - (1 - a).sqrt() * e) / a.sqrt() + (1 - b).sqrt() * e
    assert torch.allclose(ours, decode(request.pipeline, z)[0], rtol=0, atol=1e-5)


def test_a_red_disc_turns_blue_where_it_is(tmp_path: Path) -> None:
    targets = ("a blue disc on a white background",)
    source = "a red disc on a white background"
    request = attrs.evolve(small_request(targets), source_prompt=source, num_steps=12)
    done = edit(request, Options(), make_run(tmp_path))
    before, after = done.reconstruction, done.images[0].image
    disc = before[0] - before[2] > 0.25
    assert disc.sum() > 50
    assert before[0, disc].mean() > before[2, disc].mean() + 0.3
    assert after[2, disc].mean() > after[0, disc].mean() + 0.3


def test_a_target_that_says_what_the_source_says_is_the_source(tmp_path: Path) -> None:
    request = small_request()
    request = attrs.evolve(request, targets=(request.source_prompt,))
    done = edit(request, Options(), make_run(tmp_path))
    assert torch.allclose(done.images[0].image, done.reconstruction, atol=1e-6)


@pytest.mark.parametrize("options", [Options(scale=0), Options(warmup=1.0)])
def test_without_scale_or_steps_the_edit_is_the_source(tmp_path: Path, options: Options) -> None:
    done = edit(small_request(), options, make_run(tmp_path))
    assert torch.allclose(done.images[0].image, done.reconstruction, atol=1e-5)


@given(threshold=st.floats(0, 1), seed=st.integers(0, 1000))
def test_the_threshold_is_the_share_of_elements_left_alone(threshold: float, seed: int) -> None:
    psi = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept = above_percentile(psi, threshold)
    moved = kept != 0
    assert abs(moved.double().mean().item() - (1 - threshold)) <= 1 / psi.numel() + 1e-9
    assert torch.equal(kept[moved], psi[moved])
    assert moved.all() or psi[~moved].abs().max() <= psi[moved].abs().min()


def test_a_model_without_signal_at_its_first_level_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = small_request()
    scheduler = ddim(request.pipeline)
    scheduler.alphas_cumprod = torch.zeros_like(scheduler.alphas_cumprod)
    monkeypatch.setattr("kdst_sega.steps.ddim", lambda _: scheduler)
    with pytest.raises(KdstError, match="zero terminal SNR"):
        edit(request, Options(), make_run(tmp_path))


def test_concepts_are_the_words_that_come_and_go() -> None:
    source, target = "a red disc on white", "a blue ring on white"
    assert concepts(source, target, "words") == {"blue ring": 1.0, "red disc": -1.0}
    assert concepts(source, target, "prompt") == {target: 1.0, source: -1.0}
    assert concepts(source, f"{source} today", "words") == {"today": 1.0}
    assert concepts(source, source, "words") == concepts(source, source, "prompt") == {}


@pytest.mark.slow
@parametrize_checks("sega")
def test_conforms(check: Check) -> None:
    check.run()
