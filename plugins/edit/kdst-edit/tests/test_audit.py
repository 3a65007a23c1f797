"""What has no effect is named, masks are fitted, and pipelines are sampled as their own does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdst_core.errors import KdstError
from kdst_edit import audit
from kdst_edit.checks import small_pipeline
from kdst_edit.control.rules import Confine, SourceReset
from kdst_edit.control.session import Control
from kdst_edit.inputs import EditInputs
from kdst_edit.inversion.friendly import invert, resample
from kdst_edit.models import layouts
from kdst_edit.models.latents import condition, ddim
from kdst_edit.models.pipelines import load
from kdst_edit.models.precision import computing_in
from kdst_edit.pictures.reading import read, read_mask
from kdst_edit.sampling.sample import Branch, sample
from kdst_edit.sampling.schedule import Schedule, set_steps
from kdst_edit.words import find, positions


def test_an_empty_negative_prompt_is_zeros_where_sdxl_says_so() -> None:
    pipeline = layouts.build("sdxl", latent_size=8)
    found = condition(pipeline, ["", ""], (64, 64), negative=[0])
    assert not found.embeddings[0].any()
    assert not found.added["text_embeds"][0].any()
    assert found.embeddings[1].any()


def test_half_precision_variants_are_found_and_all_parts_are_cast(tmp_path: Path) -> None:
    layouts.build("sd15", latent_size=8).to(torch.float16).save_pretrained(
        tmp_path / "model", variant="fp16"
    )
    pipeline = load(str(tmp_path / "model"))
    kept = pipeline.text_encoder.dtype
    with computing_in(pipeline, torch.bfloat16):
        assert pipeline.unet.dtype == pipeline.text_encoder.dtype == torch.bfloat16
        assert pipeline.vae.dtype == torch.float32
        noise = torch.randn(1, 4, 8, 8)
        assert sample(pipeline, noise, [Branch("a cat")], num_steps=1).dtype == torch.float32
    assert pipeline.text_encoder.dtype == kept


def test_steps_that_the_levels_do_not_hold_are_refused() -> None:
    scheduler = ddim(layouts.build("sd15", latent_size=8))
    with pytest.raises(KdstError, match="--steps 1000"):
        set_steps(scheduler, 1000)
    set_steps(scheduler, 999)


def test_edit_friendly_maps_are_exact_where_the_last_step_has_no_noise() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(timestep_spacing="linspace", set_alpha_to_one=False)
    schedule = Schedule.of(scheduler, 5)
    image, noise = torch.rand(1, 4, 4, 4).double(), torch.randn(5, 4, 4, 4).double()

    def network(x: torch.Tensor, timestep: int) -> torch.Tensor:
        return torch.tanh(x + timestep / 1000)

    path, maps = invert(network, schedule, image, noise)
    assert torch.allclose(resample(network, schedule, path[:1], maps), image, atol=1e-9)


def test_the_source_is_reset_first_and_edits_are_confined_last() -> None:
    path = torch.randn(2, 3, 4, 4)
    inside = torch.zeros(4, 4)
    inside[:2] = 1
    rules = [Confine(inside=inside), SourceReset(path=path)]
    with Control(small_pipeline().unet, rules, (4, 4)) as control:
        before = torch.randn(2, 3, 4, 4)
        after = control.after_step(0, before)
    assert torch.equal(after[0], path[1])
    assert torch.equal(after[1, :, :2], before[1, :, :2])
    assert torch.equal(after[1, :, 2:], path[1, :, 2:])


def test_words_are_found_without_punctuation_and_case_and_by_number() -> None:
    prompt = 'a Cat, and "a cat"'
    assert find(prompt, "cat") == find(prompt, "CAT,") == [1, 4]
    assert find(prompt, "cat#2") == [4]
    assert find(prompt, "cat#3") == find(prompt, "cat#0") == find(prompt, "dog") == []
    tokenizer = layouts.letter_tokenizer()
    whole, inner = (positions(tokenizer, "cat, x", punctuation=p)[0] for p in (True, False))
    assert inner == whole[:3]
    assert len(whole) == 4


def test_words_of_any_script_keep_their_marks_and_new_words_their_brackets() -> None:
    assert find("नमस्ते नमस्त", "नमस्ते") == [0]
    assert find("cafe\u0301, cafe", "CAFÉ") == [0]
    assert find("a 🐱, asleep", "🐱") == [1]
    tokenizer = layouts.letter_tokenizer()
    tokenizer.add_tokens(["<toy>"])
    assert find("a <toy>.", "<toy>") == [1]
    assert positions(tokenizer, "a <toy>.", punctuation=False)[1] == [2]


@pytest.mark.parametrize(
    ("given", "guidance", "message"),
    [
        ({"negative_prompt": "a ring", "inversion": "null-text"}, 3.0, "--negative-prompt"),
        ({"skip": 0.5}, 3.0, "--skip"),
        ({"inversion": "ddim", "inversion_prompt": ""}, 3.0, "inversion prompt"),
        ({"inversion": "ddpm", "fixed_point": 2}, 3.0, "--fixed-point"),
    ],
)
def test_options_without_effect_are_named(
    given: dict[str, Any], guidance: float, message: str
) -> None:
    (told,) = audit.options(EditInputs(model="m", **given), guidance, True, "a disc")
    assert message in told
    (unused,) = audit.options(EditInputs(substeps=2), guidance, False, "a disc")
    assert "--substeps" in unused
    (vain,) = audit.guidance(EditInputs(negative_prompt="a ring"), 1.0, False)
    assert "--negative-prompt" in vain
    assert audit.guidance(EditInputs(guidance_rescale=0.7), 8.0, True)
    assert not audit.guidance(EditInputs(negative_prompt="a ring"), 3.0, False)
    assert audit.options(EditInputs(model="m"), 3.0, True, "a disc") == []
    unasked = EditInputs(model="m", inversion="ddpm", skip=0.5)
    told = audit.options(unasked, 3.0, True, "a disc", inverting=False)
    assert [line.split()[0] for line in told] == ["--inversion", "--skip"]
    assert all("the method needs no inversion" in line for line in told)
    assert "32-pixel shapes" in audit.options(EditInputs(), 3.0, True, "a disc")[0]


def test_unknown_words_are_named_unless_a_method_taught_them() -> None:
    tokenizer = small_pipeline().tokenizer
    assert "'bleu'" in audit.words(tokenizer, ["a bleu disc"], [])[0]
    assert audit.words(tokenizer, ["a bleu disc"], ["bleu"]) == []


def test_a_mask_is_upright_and_paint_on_a_transparent_layer_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    layer = Image.new("RGBA", (48, 32), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (0, 0, 16, 32))
    layer.save(tmp_path / "mask.png", exif=exif)
    white, notes = read_mask(tmp_path / "mask.png", (48, 32), [(48, 32)])
    assert white[:16].all()
    assert not white[16:].any()
    assert "transparent" in " ".join(notes)
    with pytest.raises(KdstError, match="proportions"):
        read_mask(tmp_path / "mask.png", (32, 32), [(32, 32)])


def test_the_values_of_a_mask_are_no_colours(tmp_path: Path) -> None:
    from PIL import ImageCms

    dark = np.full((32, 32, 3), 100, np.uint8)
    dark[:16] = 200
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    Image.fromarray(dark).save(tmp_path / "a.png", icc_profile=lab)
    values = np.zeros((32, 32), np.float32)
    values[:16] = 1
    Image.fromarray(values).save(tmp_path / "f.tif")
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "i.tif")
    for name in ("a.png", "f.tif", "i.tif"):
        white, notes = read_mask(tmp_path / name, (32, 32), [(32, 32)])
        assert white[:16].all()
        assert not white[16:].any()
        assert bool(notes) == (name != "a.png")


def test_only_real_orientations_and_profiles_are_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 99
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png", exif=exif)
    assert read(tmp_path / "a.png", 4, 32).notes == ()
    wide = Image.fromarray(np.zeros((32, 32), np.uint16))
    wide.save(tmp_path / "b.png", icc_profile=b"of grey")
    assert "colour profile" in " ".join(read(tmp_path / "b.png", 4, 32).notes)


def test_an_unusable_colour_profile_is_named(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((32, 32, 3), 128, np.uint8))
    grey.save(tmp_path / "a.png", icc_profile=b"no profile")
    assert "colour profile" in read(tmp_path / "a.png", 4, 32).notes[0]
