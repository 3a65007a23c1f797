"""Inversions of flow models do what their papers say."""

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.control.rules import SourceReset
from kdst_edit.inversion import ddim, rectified
from kdst_edit.inversion.cache import Cache
from kdst_edit.inversion.invert import invert
from kdst_edit.inversion.settings import FLOW_KINDS, InversionSettings, Kind
from kdst_edit.models.latents import decode
from kdst_edit.models.pipelines import load
from kdst_edit.models.transformers import Layout, build
from kdst_edit.sampling.flow import FlowSchedule
from kdst_edit.sampling.sample import Branch, sample


def velocity(x: Tensor, t: float) -> Tensor:
    """A smooth nonlinear field that depends on the timestep."""
    return torch.sin(x.roll(1, -1) * (1 + t / 1000)) * 0.7 + 0.2 * x + t / 2000


def schedule(count: int, parts: int = 1) -> FlowSchedule:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    scheduler.set_timesteps(count)
    return FlowSchedule.of(scheduler, parts)


def drawn(seed: int) -> Tensor:
    return torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(seed)).double()


IMAGE, NOISE = drawn(0), drawn(1)


def levels(count: int) -> list[float]:
    """σ from the image to noise."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    scheduler.set_timesteps(count)
    found: list[float] = scheduler.sigmas.double().flip(0).tolist()
    return found


def told(count: int) -> list[float]:
    """What the network is told at these levels: the scheduler's timesteps, and 0 at the image."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    scheduler.set_timesteps(count)
    return [0.0, *scheduler.timesteps.double().flip(0).tolist()]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_the_controlled_ode_equals_its_equations_in_float64(gamma: float) -> None:
    """Rout et al., both controlled ODEs, in the paper's time: 0 is the image forwards, noise backwards."""
    t, eta = levels(7), [0.9, 0.9, 0.3, 0.0, 0.0, 1.0, 0.5]
    y, path = IMAGE, [IMAGE]
    times = told(7)
    for time, (now, then) in zip(times[:-1], pairwise(t), strict=True):
        u = velocity(y, time)
        conditional = (NOISE - y) / (1 - now)
        y = y + (then - now) * (u + gamma * (conditional - u))
        path.append(y)
    ours = rectified.invert_controlled(velocity, schedule(7), IMAGE, NOISE, gamma)
    torch.testing.assert_close(ours, torch.cat(path[::-1]), rtol=0, atol=1e-10)
    x, s = y, [1 - a for a in reversed(t)]
    for i in range(7):
        v = -velocity(x, times[7 - i])
        conditional = (IMAGE - x) / (1 - s[i])
        x = x + (s[i + 1] - s[i]) * (v + eta[i] * (conditional - v))
    back = rectified.resample_towards(velocity, schedule(7), ours[:1], IMAGE, eta)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-10)


def test_gamma_of_one_ends_on_the_noise_and_eta_of_one_on_the_image() -> None:
    path = rectified.invert_controlled(velocity, schedule(9), IMAGE, NOISE, 1.0)
    torch.testing.assert_close(path[:1], NOISE, rtol=0, atol=1e-10)
    torch.testing.assert_close(path[-1:], IMAGE, rtol=0, atol=0)
    back = rectified.resample_towards(velocity, schedule(9), drawn(5), IMAGE, [1.0] * 9)
    torch.testing.assert_close(back, IMAGE, rtol=0, atol=1e-10)


def test_more_eta_reconstructs_better() -> None:
    path = rectified.invert_controlled(velocity, schedule(28), IMAGE, NOISE, 0.5)
    errors = []
    for eta in (0.0, 0.3, 0.6, 0.9):
        back = rectified.resample_towards(velocity, schedule(28), path[:1], IMAGE, [eta] * 28)
        errors.append(float((back - IMAGE).abs().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


def test_the_taylor_step_equals_its_equations_in_float64() -> None:
    """Wang et al., the Taylor step with its difference over half a step."""
    t, times, z, path = levels(6), told(6), IMAGE, [IMAGE]
    for i, (now, then) in enumerate(pairwise(t)):
        v, delta = velocity(z, times[i]), (then - now) / 2
        half = (times[i] + times[i + 1]) / 2
        derivative = (velocity(z + delta * v, half) - v) / delta
        z = z + (then - now) * v + 0.5 * (then - now) ** 2 * derivative
        path.append(z)
    ours = rectified.invert_second_order(velocity, schedule(6), IMAGE)
    torch.testing.assert_close(ours, torch.cat(path[::-1]), rtol=0, atol=1e-10)


def test_rf_solver_is_of_second_order_and_euler_of_first() -> None:
    exact = rectified.invert_second_order(velocity, schedule(512), IMAGE)[:1]

    def error(found: Tensor) -> float:
        return float((found[:1] - exact).abs().max())

    first = [error(ddim.invert(velocity, schedule(n), IMAGE)) for n in (16, 32)]
    second = [error(rectified.invert_second_order(velocity, schedule(n), IMAGE)) for n in (16, 32)]
    assert 1.6 < first[0] / first[1] < 2.5
    assert second[0] / second[1] > 3.2
    assert second[0] < first[0] / 5


def test_finer_steps_of_inversion_end_where_coarse_ones_do() -> None:
    coarse, fine = schedule(4), schedule(4, 3)
    for step, parts in zip(coarse.steps, fine.finer, strict=True):
        assert parts[0].sigma == step.sigma
        assert parts[-1].sigma_next == step.sigma_next
        assert [p.timestep for p in parts] == pytest.approx([1000 * p.sigma for p in parts])


@cache
def built(layout: Layout) -> Any:
    return build(layout)


PICTURE = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", ["sd3", "flux-dev"])
@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_sampling_along_an_inversion_gives_its_reconstruction(
    kind: Kind, layout: Layout, tmp_path: Path
) -> None:
    pipeline, cache_ = built(layout), Cache(tmp_path)
    settings = InversionSettings(kind=kind, steps=4)
    path = invert(pipeline, PICTURE, "a cat", settings, cache=cache_)
    assert (path.towards is not None) == (kind == "rf-inversion")
    assert path.guidance is not None
    rules = [SourceReset(path=path.latents)] if path.resets else []
    branch = Branch(path.prompt, guidance=path.guidance)
    found = sample(pipeline, path.latents[:1], [branch], rules, num_steps=4, path=path)
    torch.testing.assert_close(decode(pipeline, found)[0], path.reconstruction, rtol=0, atol=1e-4)
    again = invert(pipeline, PICTURE, "a cat", settings, cache=cache_)
    assert all(torch.equal(v, again.tensors()[k]) for k, v in path.tensors().items())


def test_eta_decides_how_much_of_the_photograph_comes_back() -> None:
    errors = []
    for eta in (0.0, 0.9, 1.0):
        settings = InversionSettings(kind="rf-inversion", steps=6, eta=eta, led=1.0)
        path = invert(built("sd3"), PICTURE, "", settings)
        branch = [Branch("", guidance=1.0)]
        found = sample(built("sd3"), path.latents[:1], branch, num_steps=6, path=path)
        errors.append(float((found - path.latents[-1]).abs().max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("tiny", "rf-solver", "is for models of flow matching; this one is of diffusion"),
        ("sd3", "null-text", "is for models of diffusion; this one is of flow matching"),
        ("flux-dev", "ddpm", "direct, ddim, rf-inversion, rf-solver"),
    ],
)
def test_inversions_of_the_other_kind_are_refused(model: str, kind: Kind, message: str) -> None:
    pipeline = load("tiny") if model == "tiny" else built(model)  # type: ignore[arg-type]
    with pytest.raises(KdstError, match=message):
        invert(pipeline, PICTURE, "", InversionSettings(kind=kind, steps=2))


def test_progress_reaches_its_total() -> None:
    from contextlib import contextmanager

    for kind in FLOW_KINDS:
        done: list[int] = []
        totals: list[int] = []

        @contextmanager
        def show(total: int, label: str) -> Any:
            totals.append(total)  # noqa: B023
            yield done.append  # noqa: B023

        settings = InversionSettings(kind=kind, steps=3, substeps=2)
        invert(built("sd3"), PICTURE, "", settings, progress=show)
        assert sum(done) == totals[0]
