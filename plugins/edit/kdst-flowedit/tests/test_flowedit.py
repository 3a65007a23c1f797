"""flowedit equals algorithm 1 written out, does what its parameters say, and conforms."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

import kdst_core
from kdst_authors.testing import make_run, parametrize_checks
from kdst_core.bench.contract import Check
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import EditRequest, SourcePath
from kdst_core.errors import KdstError
from kdst_edit.checks import small_request
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.models.latents import ddim, decode
from kdst_edit.models.pipelines import load
from kdst_edit.models.transformers import build
from kdst_edit.pictures.drawing import image_png
from kdst_edit.sampling.flow import flow_scheduler
from kdst_edit.sampling.schedule import Schedule
from kdst_edit.sampling.straight import moves
from kdst_flowedit import Options, edit
from kdst_flowedit.settings import settings_of

SOURCE, TARGETS = "a red cat", ("a blue cat", "a dog")
LAYOUTS = ("sd3", "flux-dev")


def photograph(pipeline: Any, steps: int, latent: tuple[int, ...] = (4, 8, 8)) -> EditRequest:
    """A request to edit random latents as a photograph."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(steps + 1, *latent, generator=generator).double()
    path = SourcePath(latents, prompt=SOURCE, guidance=1.0, resets=True)
    image = torch.zeros(3, 8, 8)
    start = latents[:1]
    return EditRequest(
        pipeline, SOURCE, image, TARGETS, generator, start, num_steps=steps, guidance=2.0, path=path
    )


def exact(layout: Any) -> Any:
    """A pipeline with all parts in float64."""
    with silence_libraries("diffusers"):
        return (load("tiny") if layout == "tiny" else build(layout)).to(torch.float64)


def predicted(pipeline: Any, x: Tensor, t: Any, prompt: str, scale: float) -> Tensor:
    """The network's guided output for one prompt, written out."""
    family, network = family_of(pipeline), network_of(pipeline)
    size = (x.shape[-2] * 8, x.shape[-1] * 8) if x.shape[1] == 4 else (32, 32)
    told = family.told(pipeline, [scale])
    words = family.condition(pipeline, ["", prompt], size)
    without, with_ = (family.predict(network, x, t, words.rows([i]), told).double() for i in (0, 1))
    return with_ if told else without + scale * (with_ - without)


@torch.no_grad()
def algorithm_1(
    request: EditRequest, target: str, options: Options, gs: float, gt: float
) -> Tensor:
    """Kulikov et al. (2024), algorithm 1, over the levels of the model's own scheduler."""
    pipeline, steps = request.pipeline, request.num_steps
    assert request.path is not None
    x_src = request.path.latents[-1:]
    generator = torch.Generator()
    generator.set_state(request.generator.get_state())
    flow = family_of(pipeline).flow
    if flow:
        height, width = x_src.shape[-2:]
        scheduler = flow_scheduler(pipeline, steps, (height, width))
        t = [*scheduler.sigmas.double().tolist()][::-1]
        times, ends = [*scheduler.timesteps.tolist()][::-1], t
    else:
        scheduler = Schedule.of(ddim(pipeline), steps).steps
        a = [1.0] + [s.alpha for s in reversed(scheduler)]
        t, ends = (
            [(1 - x) ** 0.5 / (x**0.5 + (1 - x) ** 0.5) for x in levels]
            for levels in (a, [s.alpha_prev for s in reversed(scheduler)])
        )
        times = [s.timestep for s in reversed(scheduler)]

    def velocity(z: Tensor, i: int, prompt: str, scale: float) -> Tensor:
        if flow:
            return predicted(pipeline, z, times[i - 1], prompt, scale)
        a_i = a[i]
        x = z * (a_i**0.5 + (1 - a_i) ** 0.5)
        v = predicted(pipeline, x, times[i - 1], prompt, scale)
        image, noise = a_i**0.5 * x - (1 - a_i) ** 0.5 * v, (1 - a_i) ** 0.5 * x + a_i**0.5 * v
        return noise - image

    def draw() -> Tensor:
        return torch.randn(x_src.shape, generator=generator).double()

    assert options.n_max is not None
    z_fe = x_src
    for i in range(options.n_max, options.n_min, -1):
        delta = torch.zeros_like(x_src)
        for _ in range(options.n_avg):
            z_src = (1 - t[i]) * x_src + t[i] * draw()
            z_tar = z_fe + z_src - x_src
            v_tar = velocity(z_tar, i, target, gt)
            v_src = velocity(z_src, i, SOURCE, gs)
            delta = delta + (v_tar - v_src) / options.n_avg
        z_fe = z_fe + (ends[i - 1] - t[i]) * delta
    if options.n_min == 0:
        return z_fe
    z_tar = z_fe + (1 - t[options.n_min]) * x_src + t[options.n_min] * draw() - x_src
    for i in range(options.n_min, 0, -1):
        z_tar = z_tar + (ends[i - 1] - t[i]) * velocity(z_tar, i, target, gt)
    return z_tar


@pytest.mark.parametrize("layout", [*LAYOUTS, "tiny"])
@pytest.mark.parametrize(("n_min", "n_avg"), [(0, 1), (1, 2)])
def test_flowedit_equals_algorithm_1_written_out_in_float64(
    layout: str, n_min: int, n_avg: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = exact(layout)
    latent = (3, 32, 32) if layout == "tiny" else (4, 8, 8)
    request = photograph(pipeline, 5, latent)
    gs, gt = (1.5, 3.0)
    options = Options(n_max=4, n_min=n_min, n_avg=n_avg, source_guidance=gs, target_guidance=gt)
    expected = [algorithm_1(request, target, options, gs, gt) for target in TARGETS]
    seen: list[Tensor] = []

    def keep(pipeline: Any, latents: Tensor) -> Tensor:
        seen.append(latents)
        return decode(pipeline, latents)

    monkeypatch.setattr("kdst_flowedit.method.decode", keep)
    edit(request, options, make_run(tmp_path))
    assert request.path is not None
    assert torch.equal(seen[0][:1], request.path.latents[-1:])
    torch.testing.assert_close(seen[0][1:], torch.cat(expected), rtol=0, atol=1e-10)
    assert (seen[0][1:] - seen[0][:1]).abs().amax((1, 2, 3)).min() > 1e-4


@pytest.mark.parametrize("layout", ["tiny", "sd15"])
def test_a_step_of_ddim_is_eulers_step_on_the_straight_path(layout: str) -> None:
    """For velocities and for noise as what the network predicts."""
    from kdst_edit.models.layouts import build as build_unet

    pipeline = load("tiny") if layout == "tiny" else build_unet("sd15", latent_size=8)
    steps = Schedule.of(ddim(pipeline), 7).steps
    generator = torch.Generator().manual_seed(0)
    z, out = (torch.randn(1, 4, 8, 8, generator=generator).double() for _ in range(2))
    for step, move in zip(steps, moves(pipeline, 7, (8, 8)), strict=True):
        ours = move.euler(z, move.velocity(z, out))
        width = step.alpha_prev**0.5 + (1 - step.alpha_prev) ** 0.5
        theirs = step.sample(move.latents(z), out)
        torch.testing.assert_close(ours * width, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_own_prompt_at_one_guidance_changes_nothing(layout: Any, tmp_path: Path) -> None:
    request = attrs.evolve(photograph(build(layout), 4), targets=(SOURCE,))
    request = attrs.evolve(request, latents=request.latents.float())
    options = Options(source_guidance=2.0, target_guidance=2.0)
    found = edit(request, options, make_run(tmp_path))
    torch.testing.assert_close(found.images[0].image, found.reconstruction, rtol=0, atol=1e-4)
    other = edit(request, Options(), make_run(tmp_path))
    assert (other.images[0].image - found.reconstruction).abs().max() > 1e-5


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("sd3", (33, 3.5, 13.5)), ("flux-dev", (43, 1.5, 5.5)), ("flux-schnell", (33, 2.0, 2.0))],
)
def test_published_values_by_model(layout: Any, expected: tuple[int, float, float]) -> None:
    how = settings_of(photograph(build(layout), 50), Options())
    assert (how.n_max, how.source, how.target) == expected
    assert settings_of(photograph(build("flux-dev"), 28), Options()).n_max == 24


def test_confined_edits_are_the_source_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = torch.zeros(8, 8)
    inside[:4] = 1
    request = attrs.evolve(photograph(exact("sd3"), 4), confine=inside)
    seen: list[Tensor] = []
    monkeypatch.setattr("kdst_flowedit.method.decode", lambda p, x: seen.append(x) or decode(p, x))
    for n_min in (0, 1):
        edit(request, Options(n_min=n_min), make_run(tmp_path))
        source, found = seen[-1][:1], seen[-1][1:]
        torch.testing.assert_close(found[..., 4:, :], source.expand_as(found)[..., 4:, :])
        assert (found - source)[..., :4, :].abs().max() > 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_max": 9}, "there are 4 steps"), ({"n_max": 2, "n_min": 2}, "leaves no step")],
)
def test_steps_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KdstError, match=message):
        settings_of(small_request(), Options(**options))


def test_a_photograph_is_not_inverted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the photograph was inverted")

    monkeypatch.setattr("kdst_edit.loop.invert", refused)
    pixels = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    (tmp_path / "a.png").write_bytes(image_png(pixels))
    result = kdst_core.run(
        "flowedit",
        image=tmp_path / "a.png",
        source="a red disc on a white background",
        target="a blue disc on a white background",
        steps=4,
        skip=0.5,
        out=tmp_path / "run",
    )
    assert "inversion_kind" not in result.data["input"]
    assert not [name for name in result.metrics if name.startswith("plain.")]
    assert result.metrics["reconstruction_psnr"] > 60
    assert any("--skip has no effect: the method needs no inversion" in w for w in result.warnings)
    assert any("no comparison without control" in line for line in result.summary)
    assert not (tmp_path / "run" / "inversions").exists()
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "not inverted, through the autoencoder" in page


@pytest.mark.slow
@parametrize_checks("flowedit")
def test_conforms(check: Check) -> None:
    check.run()


def test_on_the_embedded_flow_transformer_an_edit_keeps_more_than_sampling_anew(
    tmp_path: Path,
) -> None:
    """A colour swap by flowedit on `tiny-flow`, in few steps."""
    result = kdst_core.run(
        "flowedit",
        model="tiny-flow",
        steps=8,
        source_guidance=1.5,
        target_guidance=5.5,
        out=tmp_path / "run",
    )
    found = result.metrics
    assert found["success"] == 1
    assert found["background_psnr"] > found["plain.background_psnr"] + 3
