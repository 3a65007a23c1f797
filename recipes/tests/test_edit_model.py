"""Claims about the pipeline before and after training."""

# mypy: disable-error-code="attr-defined, no-untyped-call"
# diffusers sets these attributes at run time or leaves them untyped

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from kdst_edit.default import weights_dir
from recipes.edit.attention import recorded
from recipes.edit.autoencoder import identity_autoencoder
from recipes.edit.model import build_pipeline

shipped = pytest.mark.skipif(
    not (weights_dir() / "model_index.json").is_file(), reason="no weights in this checkout"
)

LOAD_WITHOUT_US = """
import sys
sys.modules["kdst_edit"] = None
from diffusers import StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1])
image = pipeline("a red disc on a white background", num_inference_steps=3).images[0]
assert image.size == (32, 32), image.size
assert not any(name.startswith("kdst_edit.") for name in sys.modules)
"""


@pytest.mark.parametrize("size", [32, 48, 64])
@torch.no_grad()
def test_the_autoencoder_changes_nothing(size: int) -> None:
    model = identity_autoencoder()
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    posterior = model.encode(images).latent_dist
    torch.testing.assert_close(posterior.mode(), images, atol=5e-6, rtol=0)
    torch.testing.assert_close(model.decode(images).sample, images, atol=5e-6, rtol=0)
    assert posterior.std.max() < 1e-6


def test_one_seed_builds_one_model_and_leaves_global_randomness_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_pipeline(seed).unet.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])


def test_a_saved_pipeline_loads_with_nothing_of_ours(tmp_path: Path) -> None:
    build_pipeline(0).save_pretrained(tmp_path)
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_US, str(tmp_path)], check=True)


@torch.no_grad()
def test_recording_attention_changes_no_output_and_is_undone() -> None:
    unet = build_pipeline(0).unet
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(4, 3, 32, 32, generator=generator)
    words = torch.randn(4, 16, 64, generator=generator)
    before, processors = unet(noisy, 500, words).sample, dict(unet.attn_processors)
    with recorded(unet, torch.tensor([[3, 4], [5, 6]])) as attention:
        during = unet(noisy, 500, words).sample
    torch.testing.assert_close(during, before, atol=1e-5, rtol=0)
    assert unet.attn_processors == processors
    assert attention.maps().shape == (2, 2, 16, 16)
    assert attention.calls == 3
    assert 0 < attention.maps().min() < attention.maps().max() < 1


@shipped
def test_the_shipped_weights_are_small_and_hold_no_pickle() -> None:
    files = [path for path in weights_dir().rglob("*") if path.is_file()]
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert len(weights) == 3
    assert sum(path.stat().st_size for path in weights) <= 10_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".png", ".jsonl"}


@shipped
def test_the_shipped_weights_load_with_nothing_of_ours() -> None:
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_US, str(weights_dir())], check=True)


@shipped
def test_the_shipped_pipeline_names_stock_classes_only() -> None:
    index = json.loads((weights_dir() / "model_index.json").read_text())
    libraries = {value[0] for value in index.values() if isinstance(value, list)}
    assert libraries <= {"diffusers", "transformers", None}
    assert index["_class_name"] == StableDiffusionPipeline.__name__
