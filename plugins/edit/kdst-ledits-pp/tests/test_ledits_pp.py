"""ledits-pp equals its equations written out, diffusers' pipeline where both agree, and conforms."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from kdst_edit.control.layers import READ, Layers
from kdst_edit.models.latents import condition, ddim, decode
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_edit.models.transformers import build as build_transformer
from kdst_edit.pictures.drawing import image_png
from kdst_ledits_pp import Options, edit
from kdst_ledits_pp.concepts import concepts_of, parsed
from kdst_ledits_pp.guidance import attention_mask, kind_at, noise_mask
from kdst_ledits_pp.solver import invert, solver_of

EDITS = ["a blue disc@scale=3", "-a red disc@threshold=.7,warmup=.3"]


def photograph(pipeline: Any, x_0: Tensor, steps: int, seed: int = 3) -> EditRequest:
    """A request to edit latents as a photograph of something red, towards something blue."""
    generator = torch.Generator().manual_seed(seed)
    path = SourcePath(x_0, prompt="", resets=True)
    source, target = "a red disc", ("a blue disc",)
    return EditRequest(
        pipeline, source, torch.zeros(3, 8, 8), target, generator, x_0, "", steps, 3.0, path
    )


def edited(
    request: EditRequest, options: Options, folder: Path, patch: pytest.MonkeyPatch
) -> Tensor:
    """The latents of source and edits that a run decodes."""
    seen: list[Tensor] = []

    def keep(pipeline: Any, latents: Tensor) -> Tensor:
        seen.append(latents)
        return decode(pipeline, latents)

    patch.setattr("kdst_ledits_pp.method.decode", keep)
    edit(request, options, make_run(folder))
    return seen[-1]


@contextmanager
def watched(unet: Any, factor: int) -> Iterator[list[tuple[Any, dict[str, Tensor]]]]:
    """Queries and keys of the cross-attention layers at a resolution, by hooks, in every call."""
    from kdst_edit.control.layers import find_layers

    found, handles = [], []
    for layer in find_layers(unet):
        if layer.kind == "cross" and layer.factor == factor and layer.place in ("down", "up"):
            kept: dict[str, Tensor] = {}
            for name in ("to_q", "to_k"):
                module = getattr(layer.module, name)
                handles.append(
                    module.register_forward_hook(
                        lambda _m, _i, out, k=kept, n=name: k.update({n: out})
                    )
                )
            found.append((layer.module, kept))
    yield found
    for handle in handles:
        handle.remove()


def heat(
    layers: Sequence[tuple[Any, dict[str, Tensor]]], row: int, tokens: Sequence[int]
) -> Tensor:
    """The mean softmax map of a row over layers and heads, summed over tokens."""
    maps = []
    for module, kept in layers:
        q, k = (
            kept[n][row].unflatten(-1, (module.heads, -1)).transpose(0, 1) for n in ("to_q", "to_k")
        )
        maps.append((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1))
    mean = torch.cat(maps).mean(0)
    side = round(mean.shape[0] ** 0.5)
    return mean[:, list(tokens)].sum(-1).view(side, side)


def smoothed(maps: Tensor) -> Tensor:
    """A map under the 3×3 kernel exp(−(dx² + dy²)), normalised, its edges mirrored."""
    side, found = len(maps), torch.zeros_like(maps)
    weight = {(a, b): math.exp(-(a * a + b * b)) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    for (a, b), w in weight.items():
        rows = [abs(i + a) if i + a < side else 2 * (side - 1) - i - a for i in range(side)]
        columns = [abs(i + b) if i + b < side else 2 * (side - 1) - i - b for i in range(side)]
        found += w / sum(weight.values()) * maps[rows][:, columns]
    return found


@torch.no_grad()
def written_out(request: EditRequest, o: Options, second: bool) -> Tensor:
    """Inversion, guidance and masks, one target, edits EDITS; second: DPM-Solver++, else DDPM."""
    pipeline, n = request.pipeline, request.num_steps
    scheduler = ddim(pipeline)
    abar = scheduler.alphas_cumprod.double()
    whole = int(n * (1 + o.level_skip))
    if second:
        every = [
            k * (1000 // (whole + 1)) + scheduler.config.steps_offset for k in range(1, whole + 1)
        ]
        t = every[::-1][-n:]
        a = torch.stack([*(abar[i] for i in t), torch.tensor(1.0).double()])
    else:
        scheduler.set_timesteps(whole)
        t = scheduler.timesteps.tolist()[-n:]
        ends = [i - 1000 // whole for i in t]
        a = torch.stack([abar[t[0]], *(abar[i] for i in ends[:-1])])
        last = abar[ends[-1]] if ends[-1] >= 0 else torch.as_tensor(scheduler.final_alpha_cumprod)
        a = torch.cat([a, last.double()[None]])
    texts = ["", "a blue disc", "a red disc"]
    tokens = [[1, 2, 3], [1, 2, 3]]
    scales, thresholds, warm = (3.0, o.scale), (o.threshold, 0.7), (0, round(0.3 * n))
    words = condition(pipeline, texts, (32, 32)).kwargs()

    def estimates(x: Tensor, i: int) -> Tensor:
        v = pipeline.unet(x.expand(3, -1, -1, -1), t[i], **words).sample
        assert pipeline.scheduler.config.prediction_type == "v_prediction"
        return a[i].sqrt() * v + (1 - a[i]).sqrt() * x

    def step(x: Tensor, e: Tensor, i: int, old: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        image = (x - (1 - a[i]).sqrt() * e) / a[i].sqrt()
        if not second:
            var = (1 - a[i + 1]) / (1 - a[i]) * (1 - a[i] / a[i + 1])
            mean = a[i + 1].sqrt() * image + (1 - a[i + 1] - var).clamp(min=0).sqrt() * e
            return mean, var.sqrt(), image
        if i + 1 == n:
            return image, torch.tensor(0.0).double(), image
        lam = [torch.log(a[j].sqrt() / (1 - a[j]).sqrt()) for j in (i - 1 if i else 0, i, i + 1)]
        h = lam[2] - lam[1]
        sd = ((1 - a[i + 1]) / (1 - a[i])).sqrt()
        mean = sd * torch.exp(-h) * x + a[i + 1].sqrt() * (1 - torch.exp(-2 * h)) * image
        if old is not None:
            d = (image - old) / ((lam[1] - lam[0]) / h)
            mean = mean + 0.5 * a[i + 1].sqrt() * (1 - torch.exp(-2 * h)) * d
        return mean, (1 - a[i + 1]).sqrt() * (1 - torch.exp(-2 * h)).sqrt(), image

    generator = torch.Generator()
    generator.set_state(request.generator.get_state())
    assert request.path is not None
    x_0 = request.path.latents
    noise = torch.randn(n, *x_0.shape[1:], generator=generator).double()
    levels = [a[i].sqrt() * x_0 + (1 - a[i]).sqrt() * noise[i] for i in range(n)] + [x_0]
    x, old, z = levels[0], None, []
    for i in range(n):
        mean, sigma, old = step(x, estimates(x, i)[:1], i, old)
        z.append((levels[i + 1] - mean) / (sigma if sigma > 1e-6 else 1))
        x = levels[i + 1]
    x, old = levels[0], None
    factor = 2
    with watched(pipeline.unet, factor) as layers:
        for i in range(n):
            e = estimates(x, i)
            total = e[:1]
            for c, sign in enumerate((1, -1)):
                if i < warm[c]:
                    continue
                psi = sign * (e[c + 1] - e[0])
                m = smoothed(heat(layers, c + 1, tokens[c]))
                m1 = (m >= m.flatten().quantile(thresholds[c])).double()
                m1 = m1.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
                size = psi.abs().sum(0)
                m2 = (size >= size.flatten().quantile(thresholds[c])).double()
                total = total + scales[c] * m1 * m2 * psi
            mean, sigma, old = step(x, total, i, old)
            x = mean + (sigma if sigma > 1e-6 else 1) * z[i]
    return x


@pytest.mark.parametrize("solver", ["dpm", "ddpm"])
def test_ledits_pp_equals_its_equations_written_out_in_float64(
    solver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silence_libraries("diffusers"):
        pipeline = load("tiny").to(torch.float64)
    options = Options(edit=EDITS, solver=solver)
    for seed in (3, 4):
        x_0 = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed)).double()
        request = photograph(pipeline, x_0, 5, seed)
        found = edited(request, options, tmp_path, monkeypatch)
        torch.testing.assert_close(found[:1], x_0, rtol=0, atol=1e-10)
        expected = written_out(request, options, solver == "dpm")
        torch.testing.assert_close(found[1:], expected, rtol=0, atol=1e-10)
        assert (found[1] - found[0]).abs().max() > 1e-2


def test_the_published_profile_equals_diffusers_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 1e-5 of the largest latent: its scheduler keeps its levels in float32.

    Its maps have a quarter of the latents' sides; ours do for Stable Diffusion at 512 pixels.
    It counts an edit's tokens by the length that its tokenizer returns, which is that of the padded text
    in transformers 5; it is told how many there are.
    """
    from diffusers import LEditsPPPipelineStableDiffusion

    quarter = Layers("cross", READ, (4,))
    monkeypatch.setattr("kdst_ledits_pp.method.word_layers", lambda _: quarter)
    with silence_libraries("diffusers"):
        pipeline = build("sd15", latent_size=16).to(torch.float64)
        parts = {**pipeline.components, "feature_extractor": None}
        parts.pop("image_encoder", None)
        theirs = LEditsPPPipelineStableDiffusion(**parts, requires_safety_checker=False)
        theirs.set_progress_bar_config(disable=True)
        picture = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).double()
        x_0, _ = theirs.encode_image(picture, dtype=torch.float64)
        request = photograph(pipeline, x_0, 3)
        generator = torch.Generator()
        generator.set_state(request.generator.get_state())
        drawn = list(torch.randn(3, 1, 4, 16, 16, generator=generator).double())
        module = "diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion"
        monkeypatch.setattr(f"{module}.randn_tensor", lambda *_, **__: drawn.pop())
        ours = edited(
            request,
            Options(
                edit=["a blue disc", "-a red disc@scale=4"], level_skip=0.7, profile="published"
            ),
            tmp_path,
            monkeypatch,
        )
        theirs.invert(picture, num_inversion_steps=3, skip=0.7)
        encode, letters = theirs.encode_prompt, torch.tensor([9, 8])
        monkeypatch.setattr(theirs, "encode_prompt", lambda **k: (*encode(**k)[:2], letters))
        wanted = theirs(
            editing_prompt=["a blue disc", "a red disc"],
            reverse_editing_direction=[False, True],
            edit_guidance_scale=[5.0, 4.0],
            edit_threshold=0.9,
            use_intersect_mask=True,
            output_type="latent",
        ).images
    bar = 1e-5 * float(wanted.abs().max())
    torch.testing.assert_close(ours[1:], wanted, rtol=0, atol=bar)
    assert (ours[1] - ours[0]).abs().max() > 1e3 * bar


def test_the_inversion_is_exact_by_both_solvers() -> None:
    pipeline = small_request().pipeline
    x_0 = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    for kind in ("dpm", "ddpm"):
        solver = solver_of(pipeline, 6, kind, 0.15)
        found = invert(solver, lambda x, *_: 0.9 * x.sin(), x_0, noise)
        torch.testing.assert_close(found.latents[-1:], x_0, rtol=0, atol=1e-9)
        assert all(solver.sigma(i) > 0 for i in range(5))
    solver = solver_of(pipeline, 6, "dpm", 0.15)
    found = invert(solver, lambda x, *_: 0.9 * x.sin(), x_0, noise, exact=False)
    assert not found.maps[-1].any()


def test_masks_hold_the_share_that_the_threshold_leaves() -> None:
    maps = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(1))
    assert attention_mask(maps, 0.75, (64, 64)).mean() == pytest.approx(0.25)
    assert noise_mask(direction, 0.75).mean() == pytest.approx(0.25)
    assert [kind_at("intersect", t, 1000, True) for t in (801, 800)] == ["attention", "intersect"]
    assert kind_at("intersect", 900, 1000, False) == "intersect"
    assert kind_at("noise", 900, 1000, True) == "noise"


@pytest.mark.parametrize("kind", ["intersect", "attention", "noise", "none"])
def test_edits_stay_where_the_masks_are(kind: Any, tmp_path: Path) -> None:
    options = Options(grounding=kind, edit=["a blue disc on a white background"], warmup=0.75)
    done = edit(small_request(), options, make_run(tmp_path)).images[0]
    assert done.mask is not None
    share = {"none": 1.0, "noise": 0.1, "attention": 0.1, "intersect": 0.1}[kind]
    assert done.mask.mean() == pytest.approx(share, abs=0.02 if kind != "intersect" else 0.1)


def test_edits_are_read_with_options_of_their_own() -> None:
    found = parsed("-a  beard@scale=7,threshold=.8,warmup=.1", Options(cooldown=0.5))
    assert attrs.astuple(found) == ("a beard", -1.0, 7.0, 0.8, 0.1, 0.5)
    assert attrs.astuple(parsed("+glasses", Options()))[:3] == ("glasses", 1.0, 5.0)
    assert parsed("glasses", Options()).acts(0, 4)
    assert not found.acts(0, 10)
    assert [n for n in range(10) if found.acts(n, 10)] == [1, 2, 3, 4]
    request = attrs.evolve(
        small_request(("a blue ring on white",)), source_prompt="a red disc on white"
    )
    (words,) = concepts_of(request, Options(concept="words"))
    assert [(c.text, c.sign) for c in words] == [("blue ring", 1.0), ("red disc", -1.0)]


def test_options_of_an_edit_may_be_split_at_their_commas_as_the_command_line_does() -> None:
    edits = ["a red ring@scale=7", "warmup=.1", "-a disc"]
    ((ring, disc),) = concepts_of(small_request(), Options(edit=edits))
    assert attrs.astuple(ring) == ("a red ring", 1.0, 7.0, 0.9, 0.1, 1.0)
    assert attrs.astuple(disc) == ("a disc", -1.0, 5.0, 0.9, 0.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edit": ["-"]}, "has no words"),
        ({"edit": ["a@scal=2"]}, "scale"),
        ({"edit": ["a@threshold=2"]}, r"in \[0, 1\]"),
        ({"edit": ["a@scale=x"]}, "at least 0"),
        ({"edit": ["a@scale=nan"]}, "at least 0"),
        ({"edit": ["a@scale=2,scale=3"]}, "an option twice"),
        ({"edit": ["a", "scale=3"]}, "write it behind one: TEXT@scale=3"),
        ({"edit": ["+-a"]}, "two signs"),
        ({"edit": ["a ring " * 40]}, "Shorten it"),
        ({"warmup": 0.5, "cooldown": 0.5}, "acts in no step"),
    ],
)
def test_edits_that_cannot_be_read_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(KdstError, match=message):
        edit(small_request(), Options(**options), make_run(tmp_path))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    request = small_request()
    both = attrs.evolve(request, targets=("a blue disc", "a red ring"))
    with pytest.raises(KdstError, match="give one --target"):
        edit(both, Options(edit=["a ring"]), make_run(tmp_path))
    flow = attrs.evolve(request, pipeline=build_transformer("sd3"))
    with pytest.raises(KdstError, match="SD3Transformer2DModel"):
        edit(flow, Options(), make_run(tmp_path))
    with pytest.raises(KdstError, match="--guidance-rescale"):
        edit(attrs.evolve(request, guidance_rescale=0.5), Options(), make_run(tmp_path))
    with pytest.raises(KdstError, match="do not fit"):
        edit(attrs.evolve(request, num_steps=990), Options(), make_run(tmp_path))


def test_edits_without_effect_are_named_and_change_nothing(tmp_path: Path) -> None:
    request = small_request()
    own = attrs.evolve(request, targets=(request.source_prompt,))
    for asked, options in ((own, Options()), (request, Options(edit=["a ring@scale=0"]))):
        found = edit(asked, options, make_run(tmp_path))
        torch.testing.assert_close(found.images[0].image, found.reconstruction, rtol=0, atol=1e-5)
        assert "cannot have an effect" in found.warnings[0]
    late = Options(edit=["a qwzx@warmup=.5,cooldown=.52"])
    first, second = edit(request, late, make_run(tmp_path)).warnings
    assert "acts in none of the" in first
    assert "does not know the word 'qwzx'" in second
    told = edit(own, Options(edit=["a ring"]), make_run(tmp_path)).warnings
    assert "--target is the source's prompt" in told[0]


def test_confined_edits_are_the_source_elsewhere(tmp_path: Path) -> None:
    inside = torch.zeros(32, 32)
    inside[:16] = 1
    request = attrs.evolve(small_request(), confine=inside)
    found = edit(request, Options(grounding="none"), make_run(tmp_path))
    image, source = found.images[0].image, found.reconstruction
    torch.testing.assert_close(image[:, 16:], source[:, 16:], rtol=0, atol=1e-5)
    assert (image - source)[:, :16].abs().max() > 0.01


def test_a_photograph_is_edited_without_the_bench_s_inversion(tmp_path: Path) -> None:
    request = small_request()
    source = edit(request, Options(), make_run(tmp_path)).reconstruction
    (tmp_path / "a.png").write_bytes(image_png(source))
    result = kdst_core.run(
        "ledits-pp",
        image=tmp_path / "a.png",
        source=request.source_prompt,
        target=request.targets[0],
        steps=4,
        out=tmp_path / "run",
    )
    assert "inversion_kind" not in result.data["input"]
    assert result.metrics["reconstruction_psnr"] > 60
    for name in ("words.png", "mask.png"):
        assert (tmp_path / "run" / "artifacts" / name).is_file()


@pytest.mark.slow
@parametrize_checks("ledits-pp")
def test_conforms(check: Check) -> None:
    check.run()
