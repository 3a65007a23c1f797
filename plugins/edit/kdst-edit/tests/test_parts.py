"""A pipeline is what its files say, is left as it was, and what would differ silently is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_edit.audit import syntax
from kdst_edit.inputs import EditInputs
from kdst_edit.load.prompts import check_prompts, prompts
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_edit.models.precision import computing_in
from kdst_edit.models.suited import check_live
from kdst_edit.sampling.sample import Branch, sample

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    with silence_libraries("diffusers"):
        build("sd15", latent_size=8).save_pretrained(folder)
    return folder


def rewritten(file: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def without_files(part: str) -> Change:
    return lambda folder: [path.unlink() for path in (folder / part).iterdir()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rewritten("text_encoder/config.json", num_hidden_layers=4), "lacks weights"),
        (rewritten("vae/config.json", layers_per_block=2), "lacks weights"),
        (rewritten("model_index.json", text_encoder=["transformers", "T5EncoderModel"]), "lacks w"),
        (rewritten("model_index.json", text_encoder=["transformers", "cache"]), "does not have"),
        (rewritten("model_index.json", controlnet=["diffusers", "X"]), "with a controlnet besides"),
        (without_files("tokenizer"), "holds no vocabulary"),
    ],
)
def test_a_directory_that_does_not_hold_all_of_its_model_is_refused(
    saved: Path, tmp_path: Path, change: Change, message: str
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(saved, folder)
    change(folder)
    with pytest.raises(KdstError, match=message):
        load(str(folder))


def weights(pipeline: Any) -> dict[str, Tensor]:
    parts = {part: getattr(pipeline, part) for part in ("unet", "vae", "text_encoder")}
    return {f"{p}.{k}": v.clone() for p, x in parts.items() for k, v in x.state_dict().items()}


@pytest.mark.parametrize("fails", [False, True])
def test_a_pipeline_is_bit_for_bit_itself_after_a_run_in_half_precision(fails: bool) -> None:
    pipeline = build("sd15", latent_size=8)
    with silence_libraries("diffusers"):
        pipeline.vae.to(torch.bfloat16)
        pipeline.unet.mid_block.to(torch.float64)
    before = weights(pipeline)
    try:
        with computing_in(pipeline, torch.float16), computing_in(pipeline, torch.float32):
            assert {p.dtype for p in pipeline.unet.parameters()} == {torch.float32}
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    after = weights(pipeline)
    assert all(after[k].dtype == v.dtype and torch.equal(after[k], v) for k, v in before.items())


class Louder:
    """Attention that diffusers does not have."""

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return 2 * hidden_states


def test_networks_that_another_library_changed_are_refused() -> None:
    pipeline = build("sd15", latent_size=8)
    pipeline.enable_attention_slicing()
    check_live(pipeline)
    pipeline.unet.set_attn_processor(Louder())
    with pytest.raises(KdstError, match=r"of its own \(Louder\)"):
        check_live(pipeline)
    pipeline.unet.set_attn_processor(AttnProcessor2_0())
    block: Any = pipeline.unet.mid_block.resnets[0]
    block.forward = block.forward
    with pytest.raises(KdstError, match=r"in its unet \(mid_block.resnets.0\)"):
        check_live(pipeline)
    del block.forward
    check_live(pipeline)
    pipeline.vae.register_to_config(out_channels=6)
    with pytest.raises(KdstError, match="does not draw RGB"):
        check_live(pipeline)


def test_a_tokenizer_fits_its_text_encoder() -> None:
    pipeline = build("sd15", latent_size=8)
    pipeline.tokenizer.model_max_length = 10**30
    with pytest.raises(KdstError, match="any number of tokens, its text encoder takes 77"):
        check_prompts(pipeline, ["a"])
    pipeline.tokenizer.model_max_length = 20
    check_prompts(pipeline, ["a"])
    pipeline.tokenizer.add_tokens(["<new>"])
    check_prompts(pipeline, ["a"])
    with pytest.raises(KdstError, match="has a token that the model's text encoder does not know"):
        check_prompts(pipeline, ["a <new> one"])


def test_values_that_are_not_finite_are_an_error() -> None:
    pipeline = build("sd15", latent_size=8)
    pipeline.unet.conv_in.weight.data[0] = float("nan")
    with pytest.raises(KdstError, match="not finite"):
        sample(pipeline, torch.zeros(1, 4, 8, 8), [Branch("a", guidance=1.0)], num_steps=1)


def test_prompts_are_text_and_weights_in_brackets_are_told() -> None:
    with pytest.raises(KdstError, match="not valid text"):
        prompts(EditInputs(source="a \udc80 cat", target="a dog"))
    assert "(cat:1.3)" in syntax(["a (cat:1.3)", "a dog"])[0]
    assert syntax(["a cat (tabby): 2", "((a))"]) == []
