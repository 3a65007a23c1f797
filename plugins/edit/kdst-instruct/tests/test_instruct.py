"""Instructed models draw what their stock pipelines draw, bit for bit."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from kdst_authors.testing import make_run
from kdst_core.bench.contract import Check
from kdst_core.contracts import Edit, EditRequest
from kdst_core.errors import KdstError
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.setup import setup_of
from kdst_edit.models.pipelines import load
from kdst_edit.pictures.drawing import to_pil
from kdst_instruct import kontext, pix2pix, qwen
from kdst_instruct.method import fitted
from kdst_instruct.options import Instructed, instructions
from kdst_instruct.processor import Processor

SOURCE, TARGET = "a red disc on a white background", "a blue disc on a white background"
METHODS: dict[str, Any] = {
    "instruct-pix2pix": pix2pix,
    "flux-kontext": kontext,
    "qwen-image-edit": qwen,
}
TOLD: dict[str, dict[str, Any]] = {"flux-kontext": {"area": 1024, "own_sizes": False}}
"""What keeps the small pipelines at 32×32 pixels."""


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load("tiny")


def request_of(pipeline: Any, image: Tensor | None = None, **changed: Any) -> EditRequest:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 3, 32, 32, generator=generator)
    targets = changed.pop("targets", (TARGET,))
    return EditRequest(
        pipeline, SOURCE, image, targets, generator, noise, num_steps=2, guidance=3.0, **changed
    )


def options_of(name: str, weights: Path, **given: Any) -> Any:
    return METHODS[name].Options(weights=weights, **TOLD.get(name, {}), **given)


def edited(name: str, request: EditRequest, options: Any, path: Path) -> Edit:
    found: Edit = METHODS[name].edit(request, options, make_run(path, codec=TorchCodec()))
    return found


def stock(name: str, weights: Path, image: Tensor, words: str, **given: Any) -> Tensor:
    """What the pipeline of diffusers draws, called as its users call it."""
    import diffusers

    made: Any = getattr(diffusers, METHODS[name].Options.pipeline)
    own = {"processor": Processor.read(weights)} if name == "qwen-image-edit" else {}
    pipeline = made.from_pretrained(weights, use_safetensors=True, **own)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        prompt=words,
        image=to_pil(image),
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        **given,
    )
    result: Tensor = drawn.images[0]
    return result


STOCK: dict[str, dict[str, Any]] = {
    "instruct-pix2pix": {"guidance_scale": 7.5, "image_guidance_scale": 1.5},
    "flux-kontext": {"max_area": 1024, "_auto_resize": False, "height": 32, "width": 32},
    "qwen-image-edit": {"negative_prompt": " ", "true_cfg_scale": 4.0},
}


@pytest.mark.parametrize(
    "name",
    ["instruct-pix2pix", "flux-kontext", pytest.param("qwen-image-edit", marks=pytest.mark.slow)],
)
def test_a_photograph_becomes_what_the_stock_pipeline_makes_of_it(
    name: str, weights: dict[str, Path], tiny: Any, tmp_path: Path
) -> None:
    photograph = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    request = request_of(tiny, photograph, negative_prompt="")
    options = options_of(name, weights[name], instruction="make the {source} purple")
    found = edited(name, request, options, tmp_path)
    wanted = stock(name, weights[name], photograph, f"make the {SOURCE} purple", **STOCK[name])
    assert torch.equal(found.images[0].image, fitted(wanted, (32, 32)))
    assert torch.equal(found.reconstruction, photograph)
    assert f"Asked: make the {SOURCE} purple" in found.notes


def test_a_picture_stands_in_a_text_as_often_as_it_has_merged_patches(
    weights: dict[str, Path],
) -> None:
    read = Processor.read(weights["qwen-image-edit"])
    picture = to_pil(torch.rand(3, 28, 56, generator=torch.Generator().manual_seed(0)))
    found = read(
        ["<|vision_start|><|image_pad|>x", "y<|image_pad|>"], [picture] * 2, return_tensors="pt"
    )
    frames, rows, columns = found["image_grid_thw"][0].tolist()
    assert (frames, rows % 2, columns % 2) == (1, 0, 0)
    marks = found["input_ids"] == read.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert marks.sum(1).tolist() == [rows * columns // 4] * 2
    assert found["pixel_values"].shape[0] == 2 * rows * columns
    assert found["attention_mask"].sum() == marks.sum() + 3


@pytest.mark.parametrize("name", ["instruct-pix2pix", "flux-kontext"])
def test_a_generated_source_is_drawn_by_the_model_of_the_bench_and_then_edited(
    name: str, weights: dict[str, Path], tiny: Any, tmp_path: Path
) -> None:
    two = (TARGET, "a red disc on a black background")
    both = edited(
        name, request_of(tiny, targets=two), options_of(name, weights[name]), tmp_path / "both"
    )
    assert both.reconstruction.shape == (3, 32, 32)
    for number, target in enumerate(two):
        words = f"Turn {SOURCE} into {target}."
        wanted = stock(name, weights[name], both.reconstruction, words, **STOCK[name])
        assert torch.equal(both.images[number].image, wanted), target


def test_what_the_model_drew_larger_is_brought_to_the_size_of_the_source(
    weights: dict[str, Path], tiny: Any, tmp_path: Path
) -> None:
    options = attrs.evolve(options_of("flux-kontext", weights["flux-kontext"]), area=48 * 48)
    found = edited("flux-kontext", request_of(tiny), options, tmp_path)
    assert found.images[0].image.shape == (3, 32, 32)
    assert any("48×48" in note for note in found.notes)
    flat = torch.full((3, 48, 48), 0.25)
    torch.testing.assert_close(fitted(flat, (32, 32)), flat[:, :32, :32])


def test_each_target_has_an_instruction_of_its_own_or_all_have_one() -> None:
    targets = ("a cat", "a dog")
    assert instructions(None, "", targets, "m")[1] == "Turn the picture into a dog."
    assert instructions("more of {target}", "x", targets, "m")[0] == "more of a cat"
    assert instructions("one | two {source}", "x", targets, "m") == ("one", "two x")
    with pytest.raises(KdstError, match="3 instructions for 2 targets"):
        instructions("a | b | c", "x", targets, "m")


@pytest.mark.parametrize("method", [pix2pix, kontext, qwen])
def test_weights_that_are_none_of_the_model_are_refused_before_work_starts(
    method: Any, weights: dict[str, Path], tmp_path: Path
) -> None:
    made: type[Instructed] = method.Options
    with pytest.raises(KdstError, match="give --weights a directory"):
        made()
    with pytest.raises(KdstError, match=r"no model_index\.json"):
        made(weights=tmp_path)
    other = next(path for name, path in weights.items() if METHODS[name] is not method)
    with pytest.raises(KdstError, match=f"a {made.pipeline} is needed"):
        made(weights=other)
    index = {"_class_name": made.pipeline, "transformer": ["their_code", "Model"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(KdstError, match="their_code"):
        made(weights=tmp_path)


def test_weights_that_cannot_be_read_and_a_confined_edit_are_one_line(
    weights: dict[str, Path], tiny: Any, tmp_path: Path
) -> None:
    index = {"_class_name": pix2pix.Options.pipeline, "unet": ["diffusers", "UNet2DConditionModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(KdstError, match="cannot be read") as error:
        edited(
            "instruct-pix2pix", request_of(tiny), pix2pix.Options(weights=tmp_path), tmp_path / "a"
        )
    assert "\n" not in str(error.value)
    options = options_of("instruct-pix2pix", weights["instruct-pix2pix"])
    confined = request_of(tiny, confine=torch.ones(32, 32))
    with pytest.raises(KdstError, match="cannot --confine"):
        edited("instruct-pix2pix", confined, options, tmp_path / "b")


def test_an_edit_leaves_the_model_of_the_bench_as_it_was(
    weights: dict[str, Path], tiny: Any, tmp_path: Path
) -> None:
    before = {k: v.clone() for k, v in tiny.unet.state_dict().items()}
    edited(
        "instruct-pix2pix",
        request_of(tiny),
        options_of("instruct-pix2pix", weights["instruct-pix2pix"]),
        tmp_path,
    )
    assert all(torch.equal(v, before[k]) for k, v in tiny.unet.state_dict().items())


NO_EDIT = "an edit to its own prompt changes nothing"
"""An instruction to turn the source into itself is still an instruction."""


def conformance(name: str, weights: Path) -> dict[str, Check]:
    """The checks of the bench on a method whose options name the small weights."""
    found = setup_of(name)
    made = partial(options_of, name, weights)
    described = attrs.evolve(found.method.description, options=made)
    method = attrs.evolve(found.method, description=described)
    return {check.name: check for check in found.bench.checks(method)}


def test_with_weights_every_check_of_the_bench_holds_but_one(weights: dict[str, Path]) -> None:
    checks = conformance("instruct-pix2pix", weights["instruct-pix2pix"])
    for name, check in checks.items():
        if name != NO_EDIT:
            check.run()
    with pytest.raises(AssertionError, match="own prompt"):
        checks[NO_EDIT].run()
