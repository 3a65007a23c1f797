"""Checkpoints in one file, LoRA weights and other autoencoders are those of the pipeline, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_edit.inputs import EditInputs
from kdst_edit.load.pipeline import pipeline as loaded
from kdst_edit.models.latents import condition, digest
from kdst_edit.models.layouts import build
from kdst_edit.models.lora import Lora, add
from kdst_edit.models.pipelines import load

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(key: str) -> str:
    """A UNet's key in the names of a checkpoint of Stable Diffusion 1."""
    for old, new in TOP.items():
        if key.startswith(f"{old}."):
            return key.replace(old, new, 1)
    kind, _, rest = key.partition(".")
    if kind == "mid_block":
        part, number, rest = rest.split(".", 2)
        at = 1 if part == "attentions" else 2 * int(number)
        return f"middle_block.{at}.{resnet_name(rest)}"
    block, part, number, rest = rest.split(".", 3)
    i, j = int(block), int(number)
    if part == "downsamplers":
        return f"input_blocks.{3 * (i + 1)}.0.{rest.replace('conv', 'op', 1)}"
    if part == "upsamplers":
        return f"output_blocks.{3 * i + 2}.{1 if i == 0 else 2}.{rest}"
    at = 3 * i + j + 1 if kind == "down_blocks" else 3 * i + j
    stem = "input_blocks" if kind == "down_blocks" else "output_blocks"
    return f"{stem}.{at}.{1 if part == 'attentions' else 0}.{resnet_name(rest)}"


def resnet_name(rest: str) -> str:
    for old, new in RESNET.items():
        if rest.startswith(f"{old}."):
            return rest.replace(old, new, 1)
    return rest


def vae_name(key: str) -> str:
    """An autoencoder's key in the names of a checkpoint."""
    key = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    side, _, rest = key.partition(".")
    if rest.startswith("mid_block.attentions.0."):
        name = rest.removeprefix("mid_block.attentions.0.")
        old = next(k for k in ATTENTION if name.startswith(k))
        return f"{side}.mid.attn_1.{name.replace(old, ATTENTION[old], 1)}"
    if rest.startswith("mid_block.resnets."):
        number, rest = rest.removeprefix("mid_block.resnets.").split(".", 1)
        return f"{side}.mid.block_{int(number) + 1}.{rest}"
    if rest.startswith(("down_blocks", "up_blocks")):
        kind, block, part, number, rest = rest.split(".", 4)
        way, at = ("down", block) if kind == "down_blocks" else ("up", str(3 - int(block)))
        if part == "resnets":
            return f"{side}.{way}.{at}.block.{number}.{rest}"
        return f"{side}.{way}.{at}.{way}sample.{rest}"
    return key


def checkpoint(pipeline: Any) -> dict[str, Tensor]:
    """All weights of a pipeline of Stable Diffusion 1 as its checkpoint names them."""
    found = {
        f"model.diffusion_model.{unet_name(k)}": v for k, v in pipeline.unet.state_dict().items()
    }
    for key, value in pipeline.vae.state_dict().items():
        shaped = value[..., None, None] if "attentions" in key and value.ndim == 2 else value
        found[f"first_stage_model.{vae_name(key)}"] = shaped
    for key, value in pipeline.text_encoder.state_dict().items():
        name = key.removeprefix("text_model.")
        found[f"cond_stage_model.transformer.text_model.{name}"] = value
    return {name: value.contiguous() for name, value in found.items()}


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return build("sd15", latent_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pipeline: Any) -> Path:
    """The pipeline as a directory, and its checkpoint beside it."""
    found = tmp_path_factory.mktemp("single")
    with silence_libraries("diffusers"):
        pipeline.save_pretrained(found / "model")
    save_file(checkpoint(pipeline), found / "it.safetensors")
    return found


def test_a_checkpoint_is_the_pipeline_it_was_made_from(pipeline: Any, folder: Path) -> None:
    found = load(str(folder / "it.safetensors"), config=folder / "model")
    assert digest(found) == digest(pipeline)
    assert found.scheduler.config.prediction_type == "epsilon"
    words = [condition(p, ["a cat"], (64, 64)).embeddings for p in (found, pipeline)]
    assert torch.equal(*words)


def test_a_half_precision_checkpoint_keeps_its_precision(pipeline: Any, folder: Path) -> None:
    half = {k: v.half() for k, v in checkpoint(pipeline).items()}
    save_file(half, folder / "model" / "half.safetensors")
    found = load(str(folder / "model" / "half.safetensors"))
    assert found.unet.dtype == found.text_encoder.dtype == torch.float16


def test_what_a_checkpoint_lacks_is_said(pipeline: Any, folder: Path, tmp_path: Path) -> None:
    def refused(tensors: dict[str, Tensor] | None, config: Path | None, match: str) -> None:
        path = tmp_path / "it.safetensors"
        path.write_bytes(b"nothing") if tensors is None else save_file(tensors, path)
        with pytest.raises(KdstError, match=match) as caught:
            load(str(path), config=config)
        assert len(str(caught.value).splitlines()) <= 2

    whole = checkpoint(pipeline)
    refused(whole, None, "--model-config DIR")
    refused(whole, tmp_path, "no model_index.json")
    refused(None, folder / "model", "cannot be read|does not fit")
    lacking = {k: v for k, v in whole.items() if "output_blocks.5.1.norm" not in k}
    refused(lacking, folder / "model", "lacks weights")
    (tmp_path / "it.ckpt").write_bytes(b"x")
    with pytest.raises(KdstError, match="weights_only=True"):
        load(str(tmp_path / "it.ckpt"))


def lora_weights(pipeline: Any, ending: tuple[str, str]) -> dict[str, Tensor]:
    """Rank-2 weights for an attention of the UNet, a convolution, and one of the text encoder."""
    generator = torch.Generator().manual_seed(0)
    attn = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    text = next(
        n for n, _ in pipeline.text_encoder.named_modules() if n.endswith("0.self_attn.q_proj")
    )
    layers = {
        f"unet.{attn}": pipeline.unet.get_submodule(attn),
        "unet.down_blocks.0.resnets.0.conv1": pipeline.unet.down_blocks[0].resnets[0].conv1,
        f"text_encoder.{text}": pipeline.text_encoder.get_submodule(text),
    }
    found = {}
    for name, layer in layers.items():
        out, into = layer.weight.shape[:2]
        rest = layer.weight.shape[2:]
        found[name + ending[0]] = torch.randn(2, into, *rest, generator=generator)
        found[name + ending[1]] = torch.randn(out, 2, *(1 for _ in rest), generator=generator)
    return found


def test_lora_weights_are_added_with_their_scale(tmp_path: Path) -> None:
    plain, changed = (build("sd15", latent_size=8) for _ in range(2))
    weights = lora_weights(plain, (".lora_A.weight", ".lora_B.weight"))
    alphas = {"unet.lora_alpha": 1, "unet.r": 2, "text_encoder.lora_alpha": 4, "text_encoder.r": 2}
    save_file(
        weights, tmp_path / "it.safetensors", metadata={"lora_adapter_metadata": json.dumps(alphas)}
    )
    add(changed, Lora.parse(f"{tmp_path}=0.5"))
    for key in (k for k in weights if k.endswith("lora_A.weight")):
        name = key.removesuffix(".lora_A.weight")
        part, _, path = name.partition(".")
        before, after = (getattr(p, part).get_submodule(path).weight for p in (plain, changed))
        down, up = weights[key].flatten(1), weights[name + ".lora_B.weight"].flatten(1)
        scale = 0.5 * (0.5 if part == "unet" else 2.0)
        torch.testing.assert_close(after, before + scale * (up @ down).view_as(before))
    untouched = "mid_block.attentions.0.proj_in.weight"
    assert torch.equal(plain.unet.get_parameter(untouched), changed.unet.get_parameter(untouched))


def test_lora_weights_in_the_names_of_trainers(tmp_path: Path) -> None:
    one, other = (build("sd15", latent_size=8) for _ in range(2))
    weights = lora_weights(one, (".lora_A.weight", ".lora_B.weight"))
    chosen = {k: v for k, v in weights.items() if "attn1" in k or k.startswith("text")}
    save_file(chosen, tmp_path / "peft.safetensors")
    renamed: dict[str, Tensor] = {}
    for key, value in chosen.items():
        name, _, end = key.rpartition(".lora_")
        part, _, path = name.partition(".")
        flat = path.replace("text_model.", "").replace(".", "_")
        stem = f"lora_unet_{flat}" if part == "unet" else f"lora_te_text_model_{flat}"
        renamed[f"{stem}.lora_{'down' if end.startswith('A') else 'up'}.weight"] = value
        renamed[f"{stem}.alpha"] = torch.tensor(1.0)
    save_file(renamed, tmp_path / "trainer.safetensors")
    add(one, Lora.parse(f"{tmp_path / 'peft.safetensors'}=0.5"))
    add(other, Lora.parse(str(tmp_path / "trainer.safetensors")))
    assert digest(one) == digest(other)


def test_a_lora_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    pipeline = build("sd15", latent_size=8)
    before = digest(pipeline)
    weights = lora_weights(pipeline, (".lora_A.weight", ".lora_B.weight"))

    def refused(text: str, match: str) -> None:
        with pytest.raises(KdstError, match=match):
            add(pipeline, Lora.parse(text))

    path = tmp_path / "it.safetensors"
    renamed = {**weights, "unet.nowhere.lora_A.weight": torch.ones(2, 4)}
    save_file(renamed, path)
    refused(str(path), "no such layer as unet.nowhere")
    wide = {
        k: torch.ones(2, 99) if k.endswith("to_q.lora_A.weight") else v for k, v in weights.items()
    }
    save_file(wide, path)
    refused(str(path), "no such layer")
    save_file({"unet.x.hada_w1_a": torch.ones(2, 2)}, path)
    refused(str(path), "no LoRA")
    save_file({**weights, "lora_unet_conv_in.dora_scale": torch.ones(2)}, path)
    refused(str(path), "another kind")
    key = next(k for k in weights if k.endswith("to_q.lora_A.weight"))
    for down in (torch.ones(3, 32), torch.ones(2, 16)):
        up = torch.ones(2 if len(down) == 3 else 64, 2)
        save_file({key: down, key.replace("_A", "_B"): up}, path)
        refused(str(path), "no such layer")
    path.write_bytes(b"nothing")
    refused(str(path), "cannot be read")
    for weight in ("much", "nan", "inf"):
        refused(f"{path}={weight}", "no weight")
    refused(str(tmp_path / "nowhere"), "give a .safetensors file")
    assert digest(pipeline) == before


def test_another_autoencoder_and_sliced_attention(folder: Path, tmp_path: Path) -> None:
    other = build("sd15", latent_size=8, seed=1)
    with silence_libraries("diffusers"):
        other.vae.save_pretrained(tmp_path / "vae")
    given = EditInputs(model=str(folder / "model"), vae=tmp_path / "vae", attention_slicing=True)
    found = loaded(given, None, "cpu")
    name = "decoder.conv_out.weight"
    assert torch.equal(found.vae.get_parameter(name), other.vae.get_parameter(name))
    assert all("Sliced" in type(p).__name__ for p in found.unet.attn_processors.values())
    with pytest.raises(KdstError, match="does not fit"):
        loaded(EditInputs(vae=tmp_path / "vae"), None, "cpu")
    config = tmp_path / "vae" / "config.json"
    deeper = json.loads(config.read_text()) | {"layers_per_block": 2}
    for changed, message in (
        (deeper, "lacks weights"),
        (deeper | {"_class_name": "AutoencoderTiny"}, "is a AutoencoderTiny"),
    ):
        config.write_text(json.dumps(changed))
        with pytest.raises(KdstError, match=message):
            loaded(given, None, "cpu")
    with pytest.raises(KdstError, match="holds no autoencoder"):
        loaded(EditInputs(vae=tmp_path / "nothing"), None, "cpu")
    with pytest.raises(KdstError, match="loaded here"):
        loaded(EditInputs(attention_slicing=True), other, "cpu")
