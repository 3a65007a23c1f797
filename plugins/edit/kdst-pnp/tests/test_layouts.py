"""Models in every layout of Stable Diffusion are loaded from disk, inverted and edited."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kdst_core
from kdst_authors.testing import check_plugin
from kdst_core.bench.libraries import silence_libraries
from kdst_edit.models.layouts import LAYOUTS, Layout, build


@pytest.fixture(scope="module", params=LAYOUTS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout: Layout = request.param
    folder = tmp_path_factory.mktemp(layout)
    with silence_libraries("diffusers"):
        build(layout, latent_size=8).save_pretrained(folder)
    return folder


def test_a_photograph_is_edited_with_a_model_from_disk(model: Path, tmp_path: Path) -> None:
    photograph = tmp_path / "wide.jpg"
    pixels = np.random.default_rng(0).integers(0, 255, (70, 140, 3), np.uint8)
    Image.fromarray(pixels).save(photograph)
    result = kdst_core.run(
        "pnp",
        model=str(model),
        image=str(photograph),
        source="a cat",
        target="a dog|two dogs",
        steps=3,
        out=tmp_path / "run",
    )
    assert result.data["artifacts"]["edit.png"]
    assert Image.open(tmp_path / "run" / "artifacts" / "edit.png").size == (128, 64)
    assert "resized from 140×70 to 128×64" in " ".join(result.warnings)
    assert result.metrics["reconstruction_psnr"] > 0
    assert len(list((tmp_path / "run" / "inversions").glob("*.safetensors"))) == 1


@pytest.mark.slow
def test_conforms() -> None:
    check_plugin("pnp")
