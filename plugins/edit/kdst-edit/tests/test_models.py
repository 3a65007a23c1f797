"""Pipelines load from where they are, in every layout of Stable Diffusion, or one line says why not."""

import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_edit.models import latents
from kdst_edit.models.hub import wanted
from kdst_edit.models.layouts import LAYOUTS, Layout, build
from kdst_edit.models.pipelines import check_index, load
from kdst_edit.models.weights import conversion, variant_of

PREDICTIONS = {"sd15": "epsilon", "sd21": "v_prediction", "sdxl": "epsilon"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for layout in LAYOUTS:
        found[layout] = tmp_path_factory.mktemp(layout)
        with silence_libraries("diffusers"):
            build(layout, latent_size=8).save_pretrained(found[layout])
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_saved_layout_loads_with_the_same_weights(
    layout: Layout, folders: dict[str, Path]
) -> None:
    pipeline = load(str(folders[layout]))
    assert latents.digest(pipeline) == latents.digest(build(layout, latent_size=8))
    assert latents.latent_factor(pipeline) == 8
    assert latents.native_size(pipeline) == 64
    assert latents.ddim(pipeline).config.prediction_type == PREDICTIONS[layout]
    assert not any(p.requires_grad for p in pipeline.unet.parameters())


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_conditioning_is_what_the_pipeline_computes_with(layout: Layout) -> None:
    pipeline = build(layout, latent_size=8)
    seen: dict[str, Any] = {}

    def record(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        seen.update(kwargs)

    pipeline.unet.register_forward_pre_hook(record, with_kwargs=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline("a red cat", num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    ours = latents.condition(pipeline, ["a red cat"], (64, 64))
    assert torch.equal(ours.embeddings, seen["encoder_hidden_states"])
    for name, value in ours.added.items():
        assert torch.equal(value, seen["added_cond_kwargs"][name])
    assert bool(ours.added) == (layout == "sdxl")


def test_rows_of_conditioning_are_joined_and_taken_apart() -> None:
    pipeline = build("sdxl", latent_size=8)
    both = latents.condition(pipeline, ["a", "b"], (64, 64))
    again = both.rows([0]) + both.rows([1])
    assert len(again) == 2
    assert torch.equal(again.embeddings, both.embeddings)
    assert all(torch.equal(again.added[k], v) for k, v in both.added.items())


def test_decoding_undoes_encoding_on_the_embedded_model() -> None:
    pipeline = load("tiny")
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    back = latents.decode(pipeline, latents.encode(pipeline, image))[0]
    assert torch.allclose(back, image, atol=1e-5)


def test_any_changed_weight_changes_the_digest() -> None:
    pipeline = load("tiny")
    before = latents.digest(pipeline)
    with torch.no_grad():
        pipeline.text_encoder.get_input_embeddings().weight[5, 0] += 1e-6
    assert latents.digest(pipeline) != before


def refused(name: str | Path) -> str:
    with pytest.raises(KdstError) as caught:
        load(str(name))
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def changed_index(folder: Path, target: Path, **parts: Any) -> Path:
    shutil.copytree(folder, target)
    path = target / "model_index.json"
    index = json.loads(path.read_text()) | parts
    path.write_text(json.dumps({k: v for k, v in index.items() if v is not None}))
    return target


def test_a_model_without_a_unet_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed_index(folders["sd15"], tmp_path / "m", unet=None)
    assert "has no UNet" in refused(folder)


def test_a_transformer_without_softmax_attention_is_refused_by_name(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    parts = {"unet": None, "transformer": ["diffusers", "SanaTransformer2DModel"]}
    folder = changed_index(folders["sd15"], tmp_path / "m", **parts)
    assert "SanaTransformer2DModel, whose attention cannot be controlled here" in refused(folder)
    parts = {"unet": None, "transformer": ["diffusers", "FluxTransformer2DModel"]}
    assert "has no text_encoder_2" in refused(
        changed_index(folders["sd15"], tmp_path / "n", **parts)
    )


def test_code_that_comes_with_a_model_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed_index(
        folders["sd15"], tmp_path / "m", unet=["my_unet", "UNet2DConditionModel"]
    )
    (folder / "unet" / "my_unet.py").write_text("raise SystemExit('was run')")
    assert "its own code (my_unet)" in refused(folder)


def test_weights_that_can_run_code_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed_index(folders["sd15"], tmp_path / "m")
    for path in (folder / "unet").glob("*.safetensors"):
        path.rename(path.with_name("diffusion_pytorch_model.bin"))
    assert "no .safetensors weights" in refused(folder)


def test_damaged_and_missing_files_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    damaged = changed_index(folders["sd15"], tmp_path / "damaged")
    next((damaged / "unet").glob("*.safetensors")).write_bytes(b"nothing")
    assert "cannot be loaded" in refused(damaged)
    partial = changed_index(folders["sd15"], tmp_path / "partial")
    (partial / "vae" / "config.json").unlink()
    assert "vae/config.json is missing" in refused(partial)
    (partial / "model_index.json").write_text("{")
    assert "model_index.json cannot be read" in refused(partial)


def test_what_is_no_model_is_refused_with_what_is_one(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    assert "give 'tiny'" in refused("stable-difusion")
    assert "no model_index.json" in refused(tmp_path)
    assert "the directory above it" in refused(folders["sd15"] / "unet")
    assert "is a file" in refused(folders["sd15"] / "model_index.json")


def test_an_inpainting_unet_is_refused(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    pipeline = build("sd15", latent_size=8)
    config = {**pipeline.unet.config, "in_channels": 9}
    pipeline.register_modules(unet=UNet2DConditionModel.from_config(config))
    with silence_libraries("diffusers"):
        pipeline.save_pretrained(tmp_path / "m")
    assert "takes 9 channels" in refused(tmp_path / "m")


def test_a_hub_id_without_network_says_so_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the hub's client retries
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    message = refused("someone/a-model-that-is-not-here")
    assert "could not be fetched" in message
    assert "Check the name and the network" in message
    assert capfd.readouterr().err == ""


def test_an_unknown_unet_class_is_refused() -> None:
    index = {"unet": ["diffusers", "UNet3DConditionModel"]}
    with pytest.raises(KdstError, match="UNet3DConditionModel"):
        check_index(index, "m")


def test_loading_prints_nothing(folders: dict[str, Path]) -> None:
    code = (
        "import sys; from kdst_edit.models.pipelines import load; [load(n) for n in sys.argv[1:]]"
    )
    command = [sys.executable, "-c", code, "tiny", *map(str, folders.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == done.stderr == ""


def test_the_command_that_converts_a_model_is_safe_to_paste(tmp_path: Path) -> None:
    folder = tmp_path / "it's $(touch x)"
    words = shlex.split(conversion(folder))
    assert words[3:] == [str(folder), f"{folder}-safetensors"]
    compile(words[2], "command", "exec")


def test_the_variant_that_all_parts_have_is_read(tmp_path: Path) -> None:
    def chosen(*files: str) -> str | None:
        return variant_of([f"{file}.safetensors" for file in files], ["unet", "vae"], "it")

    assert chosen("unet/model", "vae/model", "unet/model.fp16") is None
    assert chosen("unet/model.fp16-00001-of-00002", "vae/model") == "fp16"
    assert chosen("unet/model.fp16", "unet/model.non_ema", "vae/model.fp16") == "fp16"
    with pytest.raises(KdstError, match=r"fp16, fp32"):
        chosen("unet/model.fp16", "vae/model.fp32")


def test_weights_keep_the_precision_of_their_files(tmp_path: Path) -> None:
    half = build("sd15", latent_size=8).to(torch.float16)
    with silence_libraries("diffusers"):
        build("sd15", latent_size=8).save_pretrained(tmp_path)
        half.text_encoder.save_pretrained(tmp_path / "text_encoder", variant="fp16")
        half.unet.save_pretrained(tmp_path / "unet", variant="fp16", max_shard_size="1MB")
    found = load(str(tmp_path))
    assert found.text_encoder.dtype == found.unet.dtype == torch.float32
    for path in (tmp_path / "unet").glob("*model.safetensors"):
        path.unlink()
    assert load(str(tmp_path)).unet.dtype == torch.float16


def test_a_model_of_the_hub_with_half_precision_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was fetched before is found without the network; else only what is read is fetched."""
    import huggingface_hub

    snapshot = tmp_path / "hub" / "models--someone--half" / "snapshots" / "abc"
    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    with silence_libraries("diffusers"):
        build("sd15", latent_size=8).to(torch.float16).save_pretrained(snapshot, variant="fp16")
    index = json.loads((snapshot / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]  # not fetched, not needed
    (snapshot / "model_index.json").write_text(json.dumps(index))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    def kept(model: str, **given: Any) -> str:
        assert model == "someone/half"
        if not given.get("local_files_only"):
            raise OSError("offline")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", kept)
    assert load("someone/half").unet.dtype == torch.float16


def test_only_what_is_read_is_fetched() -> None:
    index = {"unet": ["diffusers", "x"], "vae": ["diffusers", "x"], "safety_checker": ["a", "b"]}
    files = [
        "model_index.json",
        "unet/config.json",
        "unet/model.fp16.safetensors",
        "unet/model.bin",
        "vae/model.safetensors",
        "vae/model.fp16.safetensors",
        "vae/config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
        "safety_checker/model.safetensors",
        "v1-5.ckpt",
    ]
    chosen = wanted(files, index, "it")
    assert "unet/model.fp16.safetensors" in chosen
    assert "vae/model.fp16.safetensors" in chosen
    assert "tokenizer/merges.txt" in chosen
    assert not {"unet/model.bin", "v1-5.ckpt", "vae/model.safetensors"} & set(chosen)
    assert not any("safety" in file for file in chosen)
