"""turbo-edit equals its equations written out, does what its parameters say, and conforms."""

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
from kdst_edit.families.registry import family_of
from kdst_edit.models.latents import ddim, decode
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_edit.models.transformers import build as build_transformer
from kdst_edit.pictures.drawing import image_png
from kdst_turbo_edit import Options, edit
from kdst_turbo_edit.levels import levels, norm_of
from kdst_turbo_edit.method import TurboEdit

SOURCE, TARGETS = "a red cat", ("a blue cat", "a dog")


def turbo(layout: Any) -> Any:
    """A narrow pipeline with a Turbo model's scheduler."""
    from diffusers import EulerAncestralDiscreteScheduler

    pipeline = build(layout, latent_size=8)
    config = {**pipeline.scheduler.config, "timestep_spacing": "trailing"}
    config["prediction_type"] = "epsilon"
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(config)
    return pipeline


def photograph(pipeline: Any, steps: int, latent: tuple[int, ...], guidance: float) -> EditRequest:
    """A request to edit random latents as a photograph."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(1, *latent, generator=generator).double()
    path = SourcePath(latents, prompt=SOURCE, resets=True)
    image = torch.zeros(3, 8, 8)
    return EditRequest(
        pipeline, SOURCE, image, TARGETS, generator, latents, "", steps, guidance, path
    )


@torch.no_grad()
def written_out(request: EditRequest, target: str, o: Options, norm: float | None) -> Tensor:
    """Sections 3 and 4 of the paper, one target, with DDPM's own mean (Ho et al., 2020, equation 7)."""
    pipeline = request.pipeline
    abar = ddim(pipeline).alphas_cumprod.double()
    times = torch.linspace(799, 199, request.num_steps).round().long().tolist()
    generator = torch.Generator()
    generator.set_state(request.generator.get_state())
    assert request.path is not None
    x_0 = request.path.latents
    side = x_0.shape[-1] * (8 if x_0.shape[1] == 4 else 1)
    words = family_of(pipeline).condition(pipeline, ["", SOURCE, target], (side, side))
    epsilon = torch.randn(request.num_steps, *x_0.shape[1:], generator=generator).double()
    x = []
    for t, e in zip(times, epsilon, strict=True):
        shifted = t - o.delta
        a = abar[shifted] if shifted > 0 else torch.tensor(1.0).double()
        x.append(a.sqrt() * x_0 + (1 - a).sqrt() * e)
    x.append(x_0)

    def mu(x_t: Tensor, row: int, i: int) -> Tensor:
        a_t = abar[times[i]]
        a_s = abar[times[i + 1]] if i + 1 < len(times) else torch.tensor(1.0).double()

        def predicted(r: int) -> Tensor:
            found: Tensor = pipeline.unet(x_t, times[i], **words.rows([r]).kwargs()).sample
            return found

        out = predicted(row)
        if request.guidance > 1:
            out = predicted(0) + request.guidance * (out - predicted(0))
        if pipeline.scheduler.config.prediction_type == "v_prediction":
            image = a_t.sqrt() * x_t - (1 - a_t).sqrt() * out
        else:
            image = (x_t - (1 - a_t).sqrt() * out) / a_t.sqrt()
        alpha = a_t / a_s
        of_image = a_s.sqrt() * (1 - alpha) / (1 - a_t)
        return of_image * image + alpha.sqrt() * (1 - a_s) / (1 - a_t) * x_t

    x_hat = x[0]
    for i in range(len(times)):
        z = x[i + 1] - mu(x[i], 1, i)
        if norm is not None and i + 1 == len(times):
            z = z * min(1.0, norm / float(z.norm()))
        x_hat = mu(x_hat, 1, i) + z + o.w * (mu(x_hat, 2, i) - mu(x_hat, 1, i))
    return x_hat


@pytest.mark.parametrize(
    ("layout", "steps", "guidance", "norm"),
    [("tiny", 4, 3.0, None), ("tiny", 3, 0.0, 5.0), ("sd15", 4, 0.0, None), ("sdxl", 2, 0.0, 4.0)],
)
def test_turbo_edit_equals_its_equations_written_out_in_float64(
    layout: Any,
    steps: int,
    guidance: float,
    norm: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with silence_libraries("diffusers"):
        pipeline = (load("tiny") if layout == "tiny" else turbo(layout)).to(torch.float64)
    latent = (3, 32, 32) if layout == "tiny" else (4, 8, 8)
    request = photograph(pipeline, steps, latent, guidance)
    options = Options(w=1.3, norm=norm)
    bound = norm_of(request, options)
    expected = [written_out(request, target, options, bound) for target in TARGETS]
    seen: list[Tensor] = []

    def keep(pipeline: Any, latents: Tensor) -> Tensor:
        seen.append(latents)
        return decode(pipeline, latents)

    monkeypatch.setattr("kdst_turbo_edit.method.decode", keep)
    edit(request, options, make_run(tmp_path))
    torch.testing.assert_close(seen[0][1:], torch.cat(expected), rtol=0, atol=1e-10)
    assert (seen[0][1:] - seen[0][:1]).abs().amax((1, 2, 3)).min() > 1e-4


def test_three_and_four_steps_are_the_published_ones() -> None:
    for steps, times in ((4, [799, 599, 399, 199]), (3, [799, 499, 199])):
        request = attrs.evolve(small_request(), num_steps=steps)
        found = levels(request, Options())
        alphas = ddim(request.pipeline).alphas_cumprod.double()
        assert [x.step.timestep for x in found] == times
        noised = [float(alphas[t - 200]) for t in times[:-1]]
        assert [x.noised for x in found] == [*noised, 1.0]
        assert found[-1].step.alpha_prev == 1.0


def test_the_norm_is_that_of_turbo_models_in_proportion_to_the_latents() -> None:
    assert norm_of(small_request(), Options()) is None
    assert norm_of(small_request(), Options(norm=0)) is None
    request = photograph(turbo("sd15"), 4, (4, 8, 8), 0.0)
    assert norm_of(request, Options()) == pytest.approx(15.5 / 8)
    whole = attrs.evolve(request, latents=torch.zeros(1, 4, 64, 64))
    assert norm_of(whole, Options()) == 15.5


def test_w_0_and_the_source_s_own_prompt_change_nothing(tmp_path: Path) -> None:
    request = small_request()
    own = attrs.evolve(request, targets=(request.source_prompt,))
    for asked, options in ((request, Options(w=0)), (own, Options())):
        found = edit(asked, options, make_run(tmp_path))
        torch.testing.assert_close(found.images[0].image, found.reconstruction, rtol=0, atol=1e-5)
        assert "cannot have an effect" in found.warnings[0]
    other = edit(request, Options(), make_run(tmp_path))
    assert (other.images[0].image - other.reconstruction).abs().max() > 0.05
    assert not other.warnings


def test_a_larger_w_leads_further_from_the_source(tmp_path: Path) -> None:
    request = small_request()
    apart = []
    for w in (0.5, 1.0, 1.5):
        found = edit(request, Options(w=w), make_run(tmp_path))
        apart.append(float((found.images[0].image - found.reconstruction).square().mean()))
    assert apart == sorted(apart)


def test_confined_edits_are_the_source_elsewhere(tmp_path: Path) -> None:
    inside = torch.zeros(32, 32)
    inside[:16] = 1
    found = edit(attrs.evolve(small_request(), confine=inside), Options(), make_run(tmp_path))
    image, source = found.images[0].image, found.reconstruction
    torch.testing.assert_close(image[:, 16:], source[:, 16:], rtol=0, atol=1e-5)
    assert (image - source)[:, :16].abs().max() > 0.01


def test_a_map_is_bounded_by_its_norm() -> None:
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    made = TurboEdit([], z, lambda x, *_: x, 1.0, 2.0, torch.Generator())
    assert float(made.bounded(z).norm()) == pytest.approx(2.0)
    assert torch.equal(made.bounded(z * 0.01), z * 0.01)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"begin": 0.2, "end": 0.5}, "--steps 4"),
        ({"num_steps": 700}, {}, "601 levels"),
        ({"guidance_rescale": 0.5}, {}, "--guidance-rescale"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(KdstError, match=message):
        edit(attrs.evolve(small_request(), **changes), Options(**options), make_run(tmp_path))


def test_flow_models_are_refused(tmp_path: Path) -> None:
    request = attrs.evolve(small_request(), pipeline=build_transformer("sd3"))
    with pytest.raises(KdstError, match="flowedit edits with flow models"):
        edit(request, Options(), make_run(tmp_path))


def test_a_photograph_is_edited_without_the_bench_s_inversion(tmp_path: Path) -> None:
    request = small_request()
    source = edit(request, Options(w=0), make_run(tmp_path)).reconstruction
    (tmp_path / "a.png").write_bytes(image_png(source))
    result = kdst_core.run(
        "turbo-edit",
        image=tmp_path / "a.png",
        source=request.source_prompt,
        target=request.targets[0],
        steps=4,
        out=tmp_path / "run",
    )
    assert "inversion_kind" not in result.data["input"]
    assert result.metrics["reconstruction_psnr"] > 60
    assert (tmp_path / "run" / "artifacts" / "words.png").is_file()


@pytest.mark.slow
@parametrize_checks("turbo-edit")
def test_conforms(check: Check) -> None:
    check.run()
