"""Whole runs on transformers from disk, and what is refused before one begins."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kdst_core
from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_edit.models.pipelines import load
from kdst_edit.models.suited import check_live
from kdst_edit.models.transformers import Layout, build

METHODS = ("p2p", "masactrl", "flowedit")
LAYOUTS: tuple[Layout, ...] = ("sd35", "flux-dev", "pixart")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Layout, Path]:
    found = {layout: tmp_path_factory.mktemp(layout) for layout in LAYOUTS}
    with silence_libraries("diffusers"):
        for layout, folder in found.items():
            build(layout).save_pretrained(folder)
    return found


@cache
def photograph() -> bytes:
    import io

    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    kept = io.BytesIO()
    Image.fromarray(pixels).save(kept, "PNG")
    return kept.getvalue()


def run(method: str, folder: Path, out: Path, **given: Any) -> Any:
    pytest.importorskip(f"kdst_{method.replace('-', '_')}")
    options = {"source": "a cat", "target": "a dog", "steps": 2, "size": 64, **given}
    return kdst_core.run(method, model=str(folder), out=out / method, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_generated_source_is_edited(
    method: str, layout: Layout, folders: dict[Layout, Path], tmp_path: Path
) -> None:
    result = run(method, folders[layout], tmp_path)
    assert result.metrics["background_psnr"] > 0
    scheduler = "DDIMScheduler" if layout == "pixart" else "FlowMatchEulerDiscreteScheduler"
    assert result.data["input"]["scheduler"] == scheduler
    assert (tmp_path / method / "artifacts" / "words.png").is_file()


@pytest.mark.parametrize("inversion", ["direct", "rf-inversion", "rf-solver"])
def test_a_photograph_is_edited(
    inversion: str, folders: dict[Layout, Path], tmp_path: Path
) -> None:
    (tmp_path / "p.png").write_bytes(photograph())
    given = {"image": str(tmp_path / "p.png"), "inversion": inversion}
    result = run("masactrl", folders["sd35"], tmp_path, **given)
    assert result.metrics["reconstruction_psnr"] > 0
    assert result.data["input"]["inversion_kind"] == inversion


def test_a_pipeline_from_disk_is_the_one_that_was_saved(folders: dict[Layout, Path]) -> None:
    for layout, folder in folders.items():
        found = load(str(folder))
        assert type(found).__name__ == type(build(layout)).__name__
        check_live(found)


@pytest.mark.parametrize(
    ("method", "layout", "given", "message"),
    [
        ("pnp", "sd35", {}, "pnp injects features of a UNet's decoder; a SD3Transformer2DModel"),
        ("pnp", "pixart", {}, "pnp injects features"),
        ("sega", "flux-dev", {}, "no few-step model or model of flow matching"),
        ("textual-inversion", "pixart", {}, "learns a word of a UNet's model"),
        ("p2p", "sd35", {"attention_slicing": True}, "--attention-slicing is for UNets"),
        ("p2p", "sd35", {"scheduler": "ddim"}, "leave --scheduler out"),
        ("p2p", "sd35", {"size": 60}, "--size 60 is not divisible by 16"),
        ("p2p", "flux-dev", {"target": "a " + "x" * 80}, "at most 77"),
    ],
)
def test_what_has_no_meaning_there_is_refused_in_a_line(
    method: str,
    layout: Layout,
    given: dict[str, Any],
    message: str,
    folders: dict[Layout, Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(KdstError, match=message) as caught:
        run(method, folders[layout], tmp_path, **given)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_model_without_its_third_encoder_is_edited(tmp_path: Path) -> None:
    pipeline = build("sd3")
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    with silence_libraries("diffusers"):
        pipeline.save_pretrained(tmp_path / "m")
    result = run("p2p", tmp_path / "m", tmp_path, blend="cat")
    assert result.metrics["background_psnr"] > 0
    assert result.data["input"]["region"] == "attention of cat"
    assert (tmp_path / "p2p" / "artifacts" / "mask.png").is_file()
