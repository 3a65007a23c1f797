"""Sampling without control is what diffusers' own pipeline draws, for every layout, or is refused."""

import inspect
from functools import cache
from typing import Any

import diffusers
import pytest
import torch

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_edit.inputs import EditInputs
from kdst_edit.load import photograph
from kdst_edit.load.prompts import check_prompts
from kdst_edit.models import layouts
from kdst_edit.models.latents import condition, ddim, decode
from kdst_edit.models.precision import computing_in
from kdst_edit.models.suited import check_live
from kdst_edit.sampling.sample import Branch, sample
from kdst_edit.sampling.schedulers import few_steps, plan

LEVELS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
PROMPT, STEPS, CLOSE = "a cat", 4, 1e-5
TRAILING = {"timestep_spacing": "trailing"}
ZERO = {**TRAILING, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"steps_offset": 1, "clip_sample": False}),
    "ddim clipped": ("DDIMScheduler", {"steps_offset": 1, "clip_sample": True}),
    "ddim zero snr": ("DDIMScheduler", {**ZERO, "clip_sample": False}),
    "ddim linspace": ("DDIMScheduler", {"timestep_spacing": "linspace", "clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
    "euler karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "euler v": ("EulerDiscreteScheduler", ZERO),
    "ancestral": ("EulerAncestralDiscreteScheduler", TRAILING),
    "heun": ("HeunDiscreteScheduler", {}),
    "kdpm2": ("KDPM2DiscreteScheduler", {}),
    "kdpm2 ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpm++ sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpm++ single": ("DPMSolverSinglestepScheduler", {}),
    "dpm++ lu": ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}),
    "dpm++ zero snr": ("DPMSolverMultistepScheduler", ZERO),
    "euler beta": ("EulerDiscreteScheduler", {"use_beta_sigmas": True}),
    "lms": ("LMSDiscreteScheduler", {"use_karras_sigmas": True}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
QUICK = ("pndm", "euler v", "ancestral", "dpm++ sde", "heun", "tcd")


@cache
def built(layout: layouts.Layout, told: bool = False, dtype: torch.dtype = torch.float32) -> Any:
    """A pipeline whose UNet may be told the guidance."""
    pipeline = layouts.build(layout, latent_size=8)
    pipeline.set_progress_bar_config(disable=True)
    if told:
        config = {k: v for k, v in pipeline.unet.config.items() if not k.startswith("_")}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            pipeline.unet = diffusers.UNet2DConditionModel(**config | {"time_cond_proj_dim": 32})
            pipeline.unet.eval()
    return pipeline.to(dtype)


def scheduler(name: str) -> Any:
    kind, config = SCHEDULERS[name]
    return getattr(diffusers, kind)(**{**LEVELS, **config})


def apart(pipeline: Any, inputs: EditInputs, negative: str | None = None) -> float:
    """The difference of our plain sampling to the stock pipeline's, relative to its largest value."""
    how = plan(pipeline, inputs, False)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    ours = sample(
        pipeline,
        noise,
        [Branch(PROMPT, negative or "", how.guidance)],
        num_steps=how.steps,
        scheduler=how.scheduler,
        sampler_steps=how.asked,
        generator=generator,
        rescale=inputs.guidance_rescale,
    )
    kept = pipeline.scheduler
    pipeline.scheduler = (
        ddim(pipeline) if how.scheduler is None else type(kept).from_config(kept.config)
    )
    theirs = pipeline(
        PROMPT,
        negative_prompt=negative,
        num_inference_steps=how.asked,
        guidance_scale=how.guidance,
        guidance_rescale=inputs.guidance_rescale,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images
    pipeline.scheduler = kept
    return float((ours - theirs.float()).abs().max() / theirs.abs().max())


def compare(layout: layouts.Layout, name: str, **options: Any) -> float:
    pipeline = built(layout)
    pipeline.scheduler = scheduler(name)
    return apart(pipeline, EditInputs(model="m", **{"steps": STEPS, **options}))


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
@pytest.mark.parametrize("guidance", [0.0, 5.0])
def test_every_layout_under_its_published_scheduler(
    layout: layouts.Layout, guidance: float
) -> None:
    pipeline = built(layout)
    pipeline.scheduler = layouts.build(layout, latent_size=8).scheduler
    for kind in ("ddim", "own"):
        given = EditInputs(model="m", steps=STEPS, guidance=guidance, scheduler=kind)
        assert apart(pipeline, given) < CLOSE


@pytest.mark.parametrize("name", QUICK)
def test_the_own_scheduler_with_its_history_and_its_noise(name: str) -> None:
    assert compare("sd15", name, scheduler="own") < CLOSE


@pytest.mark.parametrize("name", ["ddim clipped", "euler v"])
def test_prompts_of_xl_are_encoded_one_by_one_to_the_bit(name: str) -> None:
    """Clipping makes much of the last bits of an embedding."""
    assert compare("sdxl", name, scheduler="own", guidance=7.5) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("kind", ["auto", "own"])
def test_the_grid_of_layouts_and_schedulers(layout: layouts.Layout, name: str, kind: str) -> None:
    for options in (
        {"guidance": 1.0},
        {"guidance": 7.5},
        {"guidance": 5.0, "guidance_rescale": 0.7},
    ):
        assert compare(layout, name, scheduler=kind, **options) < CLOSE


@pytest.mark.parametrize("negative", [None, "a ring"])
@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_negative_prompts_and_rescaled_guidance(negative: str | None, rescale: float) -> None:
    pipeline = built("sdxl")
    pipeline.scheduler = scheduler("euler")
    given = EditInputs(model="m", steps=2, guidance=5.0, guidance_rescale=rescale)
    assert apart(pipeline, given, negative) < CLOSE


@pytest.mark.parametrize("layout", ["sd15", "sdxl"])
def test_latent_consistency_models_are_told_the_guidance(layout: layouts.Layout) -> None:
    pipeline = built(layout, told=True)
    pipeline.scheduler = scheduler("lcm")
    how = plan(pipeline, EditInputs(model="m"), False)
    assert (how.name, how.steps, how.guidance) == ("LCMScheduler", 4, 8.5)
    assert "latent consistency" in how.notes[0]
    assert apart(pipeline, EditInputs(model="m")) < CLOSE
    plain = built(layout)
    plain.scheduler = scheduler("lcm")
    assert plan(plain, EditInputs(model="m"), False).guidance == 1.0
    with pytest.raises(KdstError, match="cannot invert a photograph"):
        plan(pipeline, EditInputs(model="m"), True)


def test_turbo_models_have_few_steps_and_no_guidance() -> None:
    pipeline = built("sdxl")
    pipeline.scheduler = scheduler("ancestral")
    how = plan(pipeline, EditInputs(model="m"), False)
    assert (how.name, how.steps, how.guidance) == ("EulerAncestralDiscreteScheduler", 4, 0.0)
    for steps in (1, 2, None):
        assert apart(pipeline, EditInputs(model="m", steps=steps)) < CLOSE
    assert plan(pipeline, EditInputs(model="m", steps=30, guidance=5.0), True).scheduler is None
    for name in ("euler", "euler v", "ddim", "pndm"):
        pipeline.scheduler = scheduler(name)
        assert few_steps(pipeline) is None


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        ("sd15", torch.bfloat16),
        pytest.param("sd21", torch.bfloat16, marks=pytest.mark.slow),
        pytest.param("sdxl", torch.bfloat16, marks=pytest.mark.slow),
        *(pytest.param(x, torch.float16, marks=pytest.mark.slow) for x in layouts.LAYOUTS),
    ],
)
def test_half_precision_is_as_far_from_the_stock_pipeline_as_that_is_from_float32(
    layout: layouts.Layout, dtype: torch.dtype
) -> None:
    """Each step rounds the UNet's output once, so the error grows with the number of roundings."""
    pipeline = built(layout, dtype=dtype)
    pipeline.scheduler = layouts.build(layout, latent_size=8).scheduler
    given = EditInputs(model="m", steps=STEPS, guidance=2.0)
    with computing_in(pipeline, dtype):
        assert apart(pipeline, given) < 16 * STEPS * torch.finfo(dtype).eps


@pytest.mark.parametrize("channels", [8, 9])
def test_unets_that_take_images_are_refused(channels: int) -> None:
    pipeline = layouts.build("sd15", latent_size=8)
    config = {k: v for k, v in pipeline.unet.config.items() if not k.startswith("_")}
    pipeline.unet = diffusers.UNet2DConditionModel(**config | {"in_channels": channels})
    with pytest.raises(KdstError, match=f"takes {channels} channels"):
        check_live(pipeline)


def test_compiled_and_adapted_unets_and_other_pipelines_are_refused() -> None:
    pipeline = layouts.build("sd15", latent_size=8)
    parts = dict(pipeline.components)
    check_live(pipeline)
    pipeline.unet.register_to_config(encoder_hid_dim_type="ip_image_proj")
    with pytest.raises(KdstError, match="image adapter"):
        check_live(pipeline)
    pipeline.unet.register_to_config(encoder_hid_dim_type=None)
    for part in ("unet", "vae", "text_encoder"):
        getattr(pipeline, part)._hf_hook = object()  # as every kind of offloading puts it there
        with pytest.raises(KdstError, match="is offloaded"):
            check_live(pipeline)
        del getattr(pipeline, part)._hf_hook
    pipeline.unet.mid_block.compile()
    with pytest.raises(KdstError, match=r"torch\.compile"):
        check_live(pipeline)
    with silence_libraries("diffusers"):
        other = diffusers.StableDiffusionInstructPix2PixPipeline(
            **{k: v for k, v in parts.items() if k != "image_encoder"},
            requires_safety_checker=False,
        )
    with pytest.raises(KdstError, match="InstructPix2Pix"):
        check_live(other)
    double = layouts.build("sdxl", latent_size=8)
    double.text_encoder_2 = None
    with pytest.raises(KdstError, match="has no text_encoder_2"):
        check_live(double)


@pytest.mark.parametrize(
    ("name", "config", "options", "photograph", "message"),
    [
        ("DDIMScheduler", {"prediction_type": "sample"}, {"scheduler": "ddim"}, False, "as DDIM"),
        ("DDPMScheduler", {"beta_schedule": "sigmoid"}, {}, True, "sigmoid"),
        ("DDIMScheduler", {**ZERO, "prediction_type": "epsilon"}, {}, False, "no signal"),
        ("LCMScheduler", {}, {}, True, "inverted by"),
        ("LCMScheduler", {}, {"steps": 60}, False, "60 steps"),
        ("PNDMScheduler", {}, {"scheduler": "own"}, True, "--scheduler own"),
        ("DDPMScheduler", {"variance_type": "learned"}, {"scheduler": "own"}, False, "take 50"),
        ("ScoreSdeVeScheduler", {}, {}, False, "cannot be used here$"),
        (
            "UniPCMultistepScheduler",
            {"predict_x0": False},
            {"scheduler": "own"},
            False,
            "not finite",
        ),
        ("CogVideoXDDIMScheduler", {}, {"scheduler": "ddim"}, False, "changes its levels"),
        ("CogVideoXDDIMScheduler", {}, {}, True, "changes its levels"),
        ("PNDMScheduler", {}, {"inversion": "ddpm", "skip": 0.99, "steps": 5}, True, "--skip"),
        (
            "PNDMScheduler",
            {},
            {"inversion": "null-text", "guidance_rescale": 0.7},
            True,
            "--guidance-rescale",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    name: str, config: dict[str, Any], options: dict[str, Any], photograph: bool, message: str
) -> None:
    pipeline = built("sd15")
    kind = getattr(diffusers, name)
    levels = LEVELS if "beta_schedule" in inspect.signature(kind.__init__).parameters else {}
    pipeline.scheduler = kind(**{**levels, **config})
    with pytest.raises(KdstError, match=message):
        plan(pipeline, EditInputs(model="m", **options), photograph)


def test_a_learned_word_of_several_vectors_is_refused() -> None:
    pipeline = layouts.build("sd15", latent_size=8)
    pipeline.tokenizer.add_tokens(["<toy>"])
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer))
    check_prompts(pipeline, ["a <toy> on it"])
    pipeline.tokenizer.add_tokens(["<toy>_1"])
    with pytest.raises(KdstError, match="several vectors"):
        check_prompts(pipeline, ["a <toy> on it"])


def test_all_branches_get_the_noise_of_the_first() -> None:
    pipeline = built("sd15")
    pipeline.scheduler = scheduler("ancestral")
    how = plan(pipeline, EditInputs(model="m", steps=STEPS), False)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    given = {"num_steps": how.steps, "scheduler": how.scheduler, "generator": generator}
    branches = [Branch(PROMPT, guidance=1.0)] * 2
    both = sample(pipeline, noise, branches, **given)
    alone = sample(pipeline, noise, branches[:1], **given)
    torch.testing.assert_close(both, alone.expand_as(both), rtol=0, atol=1e-4)
    other = sample(pipeline, noise, branches[:1], **given | {"generator": torch.Generator()})
    assert (other - alone).abs().max() > 0.1


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "CogVideoXDDIMScheduler"])
def test_levels_that_ddim_does_not_know_are_sampled_by_their_own_scheduler(name: str) -> None:
    pipeline = built("sd15")
    pipeline.scheduler = getattr(diffusers, name)()
    given = EditInputs(model="m", steps=STEPS)
    assert plan(pipeline, given, False).name == name
    assert apart(pipeline, given) < CLOSE


def test_a_live_and_a_saved_scheduler_are_sampled_alike() -> None:
    pipeline = built("sd15")
    pipeline.scheduler = scheduler("euler karras")
    live = ddim(pipeline).config
    pipeline.scheduler = type(pipeline.scheduler).from_config(
        {k: v for k, v in pipeline.scheduler.config.items() if not k.startswith("_")}
    )
    assert ddim(pipeline).config.timestep_spacing == live.timestep_spacing == "linspace"


def test_the_autoencoder_is_used_as_the_pipeline_uses_it() -> None:
    pipeline = layouts.build("sd15", latent_size=8)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = decode(pipeline, latents)
    pipeline.vae.register_to_config(shift_factor=0.3)
    assert torch.equal(decode(pipeline, latents), before)
    assert len(condition(pipeline, ["a"], (64, 64))) == 1
    assert photograph.size(pipeline, EditInputs(model="m"), None) == (64, 64)


def test_a_mask_confines_the_latents_that_it_covers_by_half() -> None:
    pipeline = layouts.build("sd15", latent_size=8)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:12, :16] = True
    found = photograph.confined(pipeline, EditInputs(confine=True), mask)
    assert found is not None
    assert found.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    with pytest.raises(KdstError, match="too small"):
        photograph.confined(pipeline, EditInputs(confine=True), mask & (torch.arange(64) < 3))
    assert photograph.confined(pipeline, EditInputs(), mask) is None
