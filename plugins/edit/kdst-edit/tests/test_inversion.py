"""Inversions find the noise an image comes from, exactly where the equations say so."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.inversion import ddim, friendly, nulltext
from kdst_edit.inversion.cache import Cache, key
from kdst_edit.inversion.denoise import Denoiser
from kdst_edit.inversion.invert import invert
from kdst_edit.inversion.result import Inversion
from kdst_edit.inversion.settings import KINDS, InversionSettings, Kind
from kdst_edit.models import latents
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_edit.sampling.sample import Branch, sample
from kdst_edit.sampling.schedule import Schedule
from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import Mix, captions, sample_scenes

SPACINGS = ("leading", "trailing", "linspace")
PREDICTIONS = ("epsilon", "v_prediction")
CONFIG: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def scheduler(**changed: Any) -> Any:
    return DDIMScheduler(**(CONFIG | changed))


def network(x: Tensor, timestep: int) -> Tensor:
    """A smooth nonlinear stand-in that works in any dtype and depends on the timestep."""
    mixed = x.roll(1, -1) + 0.3 * x.flip(-2)
    return torch.sin(mixed * (1 + timestep / 1000)) * 0.7 + 0.2 * x


def picture(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load("tiny")


@pytest.fixture(scope="module")
def real() -> tuple[Tensor, list[str]]:
    scenes = sample_scenes(2, torch.Generator().manual_seed(3), Mix(pair=0.0))
    return (render(scenes) + 1) / 2, captions(scenes)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("count", [7, 20, 50])
def test_steps_are_those_that_diffusers_samples(spacing: str, prediction: str, count: int) -> None:
    theirs = scheduler(timestep_spacing=spacing, prediction_type=prediction)
    ours = Schedule.of(theirs, count)
    x, out, z = picture(0), picture(1), picture(2)
    for step, t in zip(ours.steps, theirs.timesteps.tolist(), strict=True):
        assert step.timestep == t
        sampled = theirs.step(out, t, x).prev_sample
        assert torch.allclose(step.sample(x, out), sampled, atol=1e-5)
        noisy = theirs.step(out, t, x, eta=1.0, variance_noise=z).prev_sample
        mean, sigma = step.mean_and_sigma(x, out)
        assert torch.allclose(mean + sigma * z, noisy, atol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_inversion_matches_diffusers_inverse_scheduler(prediction: str, spacing: str) -> None:
    config = {**CONFIG, "prediction_type": prediction, "timestep_spacing": spacing}
    theirs = DDIMInverseScheduler(**config)
    theirs.set_timesteps(20)
    x = image = picture()
    path = [x]
    for t in theirs.timesteps.tolist():
        x = theirs.step(network(x, t), t, x).prev_sample
        path.append(x)
    ours = ddim.invert(network, Schedule.of(DDIMScheduler(**config), 20), image)
    assert torch.allclose(ours, torch.cat(path[::-1]), atol=1e-5)


def by_hand(image: Tensor, alphas: Tensor, timesteps: list[int], final: float) -> list[Tensor]:
    """DDIM inversion of a velocity model, written as the two equations of each level."""
    x, path = image, [image]
    levels = [final, *(float(alphas[t]) for t in timesteps)]
    for before, after, t in zip(levels, levels[1:], timesteps, strict=False):
        v = network(x, t)
        x0 = math.sqrt(before) * x - math.sqrt(1 - before) * v
        epsilon = math.sqrt(before) * v + math.sqrt(1 - before) * x
        x = math.sqrt(after) * x0 + math.sqrt(1 - after) * epsilon
        path.append(x)
    return path[::-1]


def test_velocity_inversion_matches_its_equations_in_float64() -> None:
    theirs = scheduler(prediction_type="v_prediction")
    ours = ddim.invert(network, Schedule.of(theirs, 25), picture())
    timesteps = theirs.timesteps.tolist()[::-1]
    alphas = theirs.alphas_cumprod.double()
    wanted = by_hand(picture(), alphas, timesteps, float(theirs.final_alpha_cumprod))
    assert torch.allclose(ours, torch.cat(wanted), atol=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_fixed_point_iterations_make_inversion_exact(spacing: str, prediction: str) -> None:
    schedule = Schedule.of(scheduler(timestep_spacing=spacing, prediction_type=prediction), 40)
    errors = []
    for iterations in (0, 3, 25):
        path = ddim.invert(network, schedule, picture(), iterations)
        again = ddim.resample(network, schedule, path[:1])
        errors.append(float((again - picture()).abs().max()))
    assert errors[0] > 10 * errors[1]
    assert errors[2] < 1e-9


@pytest.mark.parametrize("spacing", SPACINGS)
def test_substeps_begin_and_end_where_sampling_does_and_come_closer(spacing: str) -> None:
    made = scheduler(timestep_spacing=spacing)
    errors = []
    for parts in (1, 10):
        schedule = Schedule.of(made, 25, parts)
        for step, finer in zip(schedule.steps, schedule.finer, strict=True):
            if step.alpha == step.alpha_prev:  # linspace ends on a step that moves nothing
                assert finer == ()
                continue
            assert finer[0].timestep == step.timestep
            assert (finer[0].alpha, finer[-1].alpha_prev) == (step.alpha, step.alpha_prev)
            assert all(a.alpha_prev == b.alpha for a, b in pairwise(finer))
        path = ddim.invert(network, schedule, picture())
        fine = Schedule.of(made, 25, 100)
        truth = ddim.invert(network, fine, picture())
        errors.append(float((path[0] - truth[0]).abs().mean()))
    assert errors[1] < 0.2 * errors[0]


def as_velocity(schedule: Schedule) -> Callable[[Tensor, int], Tensor]:
    """The same denoiser as `network`, read as a velocity at the level of each timestep."""
    alphas = {s.timestep: s.alpha for s in schedule.steps}

    def velocity(x: Tensor, timestep: int) -> Tensor:
        signal, noise = math.sqrt(alphas[timestep]), math.sqrt(1 - alphas[timestep])
        epsilon = network(x, timestep)
        return (epsilon - noise * x) / signal

    return velocity


def test_sampling_does_not_depend_on_what_the_network_predicts() -> None:
    eps = Schedule.of(scheduler(), 30)
    v = Schedule.of(scheduler(prediction_type="v_prediction"), 30)
    same = ddim.resample(network, eps, picture()), ddim.resample(as_velocity(v), v, picture())
    assert torch.allclose(*same, atol=1e-10)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_velocity_inversion_of_a_random_unet_is_at_least_as_good_as_epsilon(
    spacing: str,
) -> None:
    pipeline = build("sd21", latent_size=8)
    words = latents.condition(pipeline, ["a cat"], (64, 64))
    denoise = Denoiser(pipeline.unet, words, words)
    errors = {}
    for prediction in PREDICTIONS:
        config = {**pipeline.scheduler.config, "prediction_type": prediction}
        made = DDIMScheduler.from_config(config, timestep_spacing=spacing)
        schedule = Schedule.of(made, 12)
        path = ddim.invert(denoise, schedule, picture(dtype=torch.float32))
        again = ddim.resample(denoise, schedule, path[:1])
        errors[prediction] = float((again - picture(dtype=torch.float32)).square().mean())
    assert errors["v_prediction"] <= errors["epsilon"]


def test_reading_a_velocity_at_the_wrong_level_is_worse(tiny: Any, real: Any) -> None:
    images, texts = real
    words = latents.condition(tiny, texts[:1], (32, 32))
    denoise = Denoiser(tiny.unet, words, words)
    schedule = Schedule.of(latents.ddim(tiny), 25)
    image = latents.encode(tiny, images[0])
    right = ddim.invert(denoise, schedule, image)[:1]
    x = image
    for step in reversed(schedule.steps):
        _, epsilon = step.x0_and_epsilon(x, denoise(x, step.timestep), step.alpha)
        x0 = (x - math.sqrt(1 - step.alpha_prev) * epsilon) / math.sqrt(step.alpha_prev)
        x = math.sqrt(step.alpha) * x0 + math.sqrt(1 - step.alpha) * epsilon
    errors = [
        float((ddim.resample(denoise, schedule, n) - image).square().mean()) for n in (right, x)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_edit_friendly_noise_maps_draw_the_image_again_in_float64(prediction: str) -> None:
    schedule = Schedule.of(scheduler(prediction_type=prediction), 20)
    noise = torch.randn(20, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    path, maps = friendly.invert(network, schedule, picture(), noise)
    for first in (0, 7):
        again = friendly.resample(network, schedule, path[first : first + 1], maps, first)
        assert torch.allclose(again, picture(), atol=1e-9)


def test_edit_friendly_latents_are_drawn_independently() -> None:
    schedule = Schedule.of(scheduler(), 20)
    noise = torch.randn(20, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    path, _ = friendly.invert(network, schedule, picture(), noise)
    for step, x, n in zip(schedule.steps, path, noise, strict=False):
        wanted = math.sqrt(step.alpha) * picture()[0] + math.sqrt(1 - step.alpha) * n
        assert torch.allclose(x, wanted, atol=1e-9)


class Affine(torch.nn.Module):
    """A float64 network whose output moves linearly with the mean of its embedding."""

    def forward(self, x: Tensor, timestep: int, encoder_hidden_states: Tensor) -> Any:
        text = encoder_hidden_states.mean((1, 2))[:, None, None, None]
        out = network(x, timestep) + text * torch.linspace(-1, 1, x.shape[-1]).to(x)
        return attrs.make_class("Out", ["sample"])(out)


def published_null_text(
    pivot: Tensor, made: Any, guidance: float, told: Tensor, start: Tensor, inner: int
) -> list[Tensor]:
    """Algorithm 1 in plain steps: autograd by `backward`, diffusers' own scheduler step."""
    unet, x, embedding, found = Affine(), pivot[:1], start.clone(), []
    for i, t in enumerate(made.timesteps.tolist()):
        embedding = embedding.clone().detach().requires_grad_()
        adam = torch.optim.Adam([embedding], lr=1e-2 * (1 - i / 100))
        for _ in range(inner):
            without = unet(x, t, embedding).sample
            out = without + guidance * (unet(x, t, told).sample - without)
            loss = (made.step(out, t, x).prev_sample - pivot[i + 1]).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            if loss.item() < 1e-5 + i * 2e-5:
                break
        found.append(embedding.detach())
        without = unet(x, t, found[-1]).sample
        out = without + guidance * (unet(x, t, told).sample - without)
        x = made.step(out, t, x).prev_sample
    return found


def test_null_text_matches_the_published_optimisation_in_float64() -> None:
    made = scheduler()
    schedule = Schedule.of(made, 50)
    generator = torch.Generator().manual_seed(0)
    told, start = torch.randn(2, 1, 4, 6, generator=generator).double()
    words = latents.Conditioning(told)
    plain = Denoiser(Affine(), words, latents.Conditioning(start))
    pivot = ddim.invert(plain, schedule, picture())
    how = nulltext.NullText(inner_steps=3)
    ours = nulltext.optimise(attrs.evolve(plain, guidance=3.0), schedule, pivot, how)
    wanted = published_null_text(pivot, made, 3.0, told, start, 3)
    assert torch.allclose(ours.embeddings, torch.cat(wanted), atol=1e-6)


def test_null_text_that_was_stopped_continues_exactly(tiny: Any, real: Any) -> None:
    images, texts = real
    words = latents.condition(tiny, ["", texts[0]], (32, 32))
    denoise = Denoiser(tiny.unet, words.rows([1]), words.rows([0]), 3.0)
    schedule = Schedule.of(latents.ddim(tiny), 6)
    plain = attrs.evolve(denoise, guidance=1.0)
    pivot = ddim.invert(plain, schedule, latents.encode(tiny, images[0]))
    how = nulltext.NullText(inner_steps=2)
    kept: list[nulltext.OptimiserState] = []
    whole = nulltext.optimise(denoise, schedule, pivot, how, keep=kept.append)
    again = nulltext.optimise(denoise, schedule, pivot, how, begun=kept[2])
    assert torch.equal(whole.embeddings, again.embeddings)
    assert torch.equal(whole.latents, again.latents)


def psnr(tiny: Any, real: Any, kind: Kind, **how: Any) -> float:
    images, texts = real
    return invert(tiny, images[0], texts[0], InversionSettings(kind=kind, guidance=3.0, **how)).psnr


def test_kinds_that_cannot_drift_reconstruct_to_the_autoencoder(tiny: Any, real: Any) -> None:
    assert psnr(tiny, real, "direct", steps=10) > 60
    assert psnr(tiny, real, "ddpm", steps=10) > 60


@pytest.mark.slow
def test_null_text_undoes_most_of_the_drift_of_guidance(tiny: Any, real: Any) -> None:
    images, texts = real
    path = invert(tiny, images[0], texts[0], InversionSettings(kind="ddim"))
    branch = Branch(texts[0], guidance=3.0)
    drawn = latents.decode(tiny, sample(tiny, path.latents[:1], [branch], num_steps=50))[0]
    drifted = -10 * float((drawn - images[0]).square().mean().log10())
    assert psnr(tiny, real, "null-text") > drifted + 5


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_along_an_inversion_gives_its_reconstruction(
    kind: Kind, tiny: Any, real: Any
) -> None:
    from kdst_edit.control.rules import SourceReset

    images, texts = real
    settings = InversionSettings(kind=kind, steps=8, guidance=3.0, inner_steps=2)
    path = invert(tiny, images[1], texts[1], settings)
    assert path.guidance is not None
    rules = [SourceReset(path=path.latents)] if path.resets else []
    drawn = sample(
        tiny,
        path.latents[path.start : path.start + 1],
        [Branch(path.prompt, guidance=path.guidance)],
        rules,
        num_steps=8,
        path=path,
    )
    assert torch.allclose(latents.decode(tiny, drawn)[0], path.reconstruction, atol=1e-4)


def test_a_cached_inversion_is_the_same_and_costs_no_network(
    tmp_path: Path, tiny: Any, real: Any
) -> None:
    images, texts = real
    settings = InversionSettings(kind="ddpm", steps=5)
    cache = Cache(tmp_path / "inversions")
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    first = invert(tiny, images[0], texts[0], settings, generator=generators[0], cache=cache)
    handle = tiny.unet.register_forward_pre_hook(lambda *_: pytest.fail("the network was called"))
    again = invert(tiny, images[0], texts[0], settings, generator=generators[1], cache=cache)
    handle.remove()
    assert first.header() == again.header()
    assert all(torch.equal(v, again.tensors()[k]) for k, v in first.tensors().items())
    assert torch.equal(*(torch.rand(3, generator=g) for g in generators))


def test_every_input_of_an_inversion_decides_its_place_in_the_cache() -> None:
    parts: dict[str, Any] = {"image": torch.zeros(3, 4, 4), "prompt": "a", "steps": 50}
    changed = [
        parts | {"image": torch.full((3, 4, 4), 1e-7)},
        parts | {"image": torch.zeros(3, 2, 8)},
        parts | {"prompt": "a "},
        parts | {"steps": 51},
    ]
    assert len({key(p) for p in [parts, *changed]}) == 5
    assert key(parts) == key(dict(reversed(parts.items())))


def test_a_damaged_cache_file_is_replaced(tmp_path: Path, tiny: Any, real: Any) -> None:
    images, texts = real
    settings = InversionSettings(steps=3)
    cache = Cache(tmp_path)
    first = invert(tiny, images[0], texts[0], settings, cache=cache)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:200])
    again = invert(tiny, images[0], texts[0], settings, cache=cache)
    assert torch.equal(first.latents, again.latents)
    assert isinstance(cache.load(path.stem), Inversion)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_interrupted_null_text_inversion_continues_from_the_cache(
    tmp_path: Path, tiny: Any, real: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, texts = real
    settings = InversionSettings(kind="null-text", steps=5, guidance=3.0, inner_steps=2)
    monkeypatch.setattr("kdst_edit.inversion.invert.KEEP_EVERY", 0.0)
    whole = invert(tiny, images[0], texts[0], settings)
    calls = 0

    def stop(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 13:
            raise KeyboardInterrupt

    handle = tiny.unet.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        invert(tiny, images[0], texts[0], settings, cache=Cache(tmp_path))
    handle.remove()
    assert [p.suffixes for p in tmp_path.iterdir()] == [[".part", ".safetensors"]]
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    handle = tiny.unet.register_forward_pre_hook(count)
    again = invert(tiny, images[0], texts[0], settings, cache=Cache(tmp_path))
    handle.remove()
    assert torch.equal(whole.negative, again.negative)
    assert whole.psnr == again.psnr
    assert 0 < counted < 5 + 5 * (1 + 2 + 1)
    assert [p.suffixes for p in tmp_path.iterdir()] == [[".safetensors"]]


def test_a_cache_that_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, tiny: Any, real: Any
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KdstError, match="cannot write inversions"):
        invert(
            tiny, real[0][0], "", InversionSettings(steps=2), cache=Cache(tmp_path / "file" / "a")
        )


def test_progress_reaches_its_total(tiny: Any, real: Any) -> None:
    from contextlib import contextmanager

    for kind in KINDS:
        done: list[int] = []
        totals: list[int] = []

        @contextmanager
        def show(total: int, label: str) -> Any:
            totals.append(total)  # noqa: B023
            yield done.append  # noqa: B023

        settings = InversionSettings(kind=kind, steps=3, inner_steps=1, fixed_point=1, substeps=2)
        invert(tiny, real[0][0], "", settings, progress=show)
        assert sum(done) == totals[0]


@pytest.mark.parametrize(
    "wrong", [{"kind": "magic"}, {"steps": 0}, {"skip": 1.0}, {"fixed_point": -1}]
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        InversionSettings(**wrong)
