"""The bench: a run from the command line's options to its files, and bad input in a line or two."""

import gc
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import kdst_core
from kdst_core.errors import KdstError, MethodError
from kdst_core.options import Given
from kdst_core.runs import execute
from kdst_core.runs.result import Result
from kdst_core.runs.setup import setup_of
from kdst_edit.checks import DEFAULT_SOURCE, DEFAULT_TARGET, small_pipeline
from kdst_edit.inputs import EditInputs
from kdst_edit.load.prompts import prompts
from kdst_edit.load.target import Target
from kdst_edit.models.layouts import build
from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import Mix, captions, sample_scenes

pytest.importorskip("kdst_p2p", reason="the bench is run with the method p2p")


def edit(tmp_path: Path, **options: Any) -> kdst_core.Result:
    return kdst_core.run("p2p", out=tmp_path / "run", **{"steps": 4, **options})


@pytest.fixture
def photograph(tmp_path: Path) -> tuple[Path, str]:
    """A rendered scene as a PNG file, and its caption."""
    scene = sample_scenes(1, torch.Generator().manual_seed(0), Mix(pair=0.0, textured=0.0))
    pixels = ((render(scene)[0] + 1) * 127.5).round().permute(1, 2, 0).byte().numpy()
    path = tmp_path / "photograph.png"
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return path, captions(scene)[0]


def test_a_run_writes_pictures_measures_and_a_report(tmp_path: Path) -> None:
    targets = f"{DEFAULT_TARGET} | a red disc on a black background"
    result = edit(tmp_path, target=targets, source=DEFAULT_SOURCE, sweep=["self_tau"], explain=True)
    for name in ("background_psnr", "mask_iou", "success"):
        assert name in result.metrics
        assert f"plain.{name}" in result.metrics
    made = result.data["artifacts"]
    wanted = {"source.png", "edit.png", "edit-2.png", "plain.png", "mask.png", "sheet.png"}
    assert wanted | {"attention/red.png", "attention/disc.png"} <= made.keys()
    assert all((result.directory / path).is_file() for path in made.values())
    with Image.open(result.directory / made["edit.png"]) as picture:
        assert picture.size == (32, 32)
    page = result.report.read_text(encoding="utf-8")
    assert page.count("class=pixelated") == 1  # the mask; pictures with labels are drawn smoothly
    for text in ("Token alignment", "Where the words attend", "Contact sheet", "kdst run p2p"):
        assert text in page
    assert any("blue" in line and "red (2)" in line for line in result.summary)


def test_the_same_seed_gives_the_same_images(tmp_path: Path) -> None:
    one, other = (
        kdst_core.run("p2p", out=tmp_path / name, steps=3, baseline=False) for name in ("a", "b")
    )
    assert one.metrics == other.metrics
    assert not [name for name in one.metrics if name.startswith("plain.")]


def test_a_photograph_is_inverted_and_edited(tmp_path: Path, photograph: tuple[Path, str]) -> None:
    path, caption = photograph
    result = edit(tmp_path, image=str(path), source=caption, target=DEFAULT_TARGET, steps=6)
    assert result.metrics["reconstruction_psnr"] > 60
    assert "plain.background_psnr" in result.metrics
    assert result.data["input"]["inversion_kind"] == "direct"


@pytest.mark.parametrize("kind", ["ddim", "ddpm"])
def test_other_inversions_run_through_the_same_method(
    tmp_path: Path, photograph: tuple[Path, str], kind: str
) -> None:
    path, caption = photograph
    result = edit(tmp_path, image=str(path), source=caption, inversion=kind, reweight=["a=2"])
    assert "reconstruction_psnr" in result.metrics


def test_a_stable_diffusion_directory_is_edited(tmp_path: Path) -> None:
    build("sd15").save_pretrained(tmp_path / "model")
    result = edit(tmp_path, model=str(tmp_path / "model"), source="a cat", target="a dog", steps=2)
    assert "attention of cat" in result.data["input"]["region"]
    assert "mask_iou" in result.metrics
    assert "success" not in result.metrics


def test_default_prompts_are_those_of_the_tiny_model() -> None:
    assert prompts(EditInputs()) == (DEFAULT_SOURCE, (DEFAULT_TARGET,))
    assert prompts(EditInputs(source="a  cat")) == ("a cat", ("a cat",))
    assert prompts(EditInputs(source="a cat", target="a dog| a fox ")) == (
        "a cat",
        ("a dog", "a fox"),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "a b", "target": "a |"}, "empty prompt"),
        ({"source": "", "target": None}, "give --target"),
        ({"source": "a " * 40, "target": "a"}, "at most 16"),
        ({"target": "a " * 40, "source": "a"}, "at most 16"),
        ({"source": "a", "target": "a", "inversion_prompt": "a " * 40}, "at most 16"),
        ({"kind": "swap", "source": "a red disc", "target": "a disc"}, "--kind refine"),
        ({"source": DEFAULT_SOURCE, "reweight": ["cat=2"]}, "not a word of"),
        ({"source": DEFAULT_SOURCE, "reweight": ["red=9"]}, "--wide"),
        ({"tau": ["2"]}, r"in \[0, 1\]"),
        ({"self_tau": 1.5}, "at most 1"),
        ({"guidance": -0.5}, "at least 0"),
        ({"size": 30}, "divisible by"),
        ({"model": "nowhere", "source": "a"}, "no model"),
        ({"mask": "nowhere.png"}, "--mask"),
        ({"image": "nowhere.png", "target": "a"}, "does not exist"),
        ({"device": "cuda:99"}, "device"),
    ],
)
def test_bad_input_is_one_or_two_lines_and_leaves_nothing(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(KdstError, match=message) as caught:
        edit(tmp_path, **options)
    assert len(str(caught.value).splitlines()) <= 2
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_an_unreadable_image_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"not a picture")
    for option in ("image", "mask"):
        with pytest.raises(KdstError, match="read"):
            edit(tmp_path, **{option: str(path), "target": "a", "source": "a"})
    assert not (tmp_path / "run").exists()


def test_a_live_image_and_pipeline_are_checked(tmp_path: Path) -> None:
    for image in (torch.rand(1, 32, 32), torch.rand(3, 30, 32), torch.full((3, 32, 32), 2.0)):
        with pytest.raises(KdstError, match="image"):
            edit(tmp_path, image=image, target="a", source="a")
    with pytest.raises(KdstError, match="has no unet"):
        edit(tmp_path, model=object(), source="a cat")
    result = edit(tmp_path, model=small_pipeline(), image=torch.rand(3, 32, 32), target="a disc")
    assert result.metrics["reconstruction_psnr"] > 60


def test_scores_of_every_target_are_kept(tmp_path: Path) -> None:
    result = edit(tmp_path, baseline=False)
    path = result.directory / result.data["artifacts"]["scores.json"]
    scores = json.loads(path.read_text(encoding="utf-8"))
    assert scores["targets"] == [DEFAULT_TARGET]
    assert scores["edit"][0]["background_psnr"] == pytest.approx(result.metrics["background_psnr"])


def _opens(mask: Path) -> None:
    mask.read_bytes()


def _collects(mask: Path) -> None:
    held = [o for o in gc.get_objects() if type(o) is Target]
    mine = [target for target in held if target.inputs.mask == mask]
    assert mine
    assert all(target.mask is not None for target in mine)


@pytest.mark.parametrize("peek", [_opens, _collects])
def test_a_mask_is_read_when_edits_are_scored_and_never_by_a_method(
    tmp_path: Path, photograph: tuple[Path, str], peek: Callable[[Path], None]
) -> None:
    path, caption = photograph
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(mask)
    words = {"--image": path, "--mask": mask, "--source": caption, "--target": DEFAULT_TARGET}
    given = {f: Given(str(v), f, tmp_path) for f, v in {**words, "--steps": 2}.items()}
    looks: list[bool] = []

    class Spy:
        @kdst_core.hookimpl(tryfirst=True)
        def edit(self, request: Any, options: Any, run: Any) -> None:
            if looks:
                with suppress(RuntimeError, OSError):
                    peek(mask)

    chosen = setup_of("p2p")
    chosen.method.manager.register(Spy())

    def edited(out: str) -> Result:
        return execute.execute(
            chosen, given, {}, out=tmp_path / out, resume=False, config=None, show="quiet"
        )

    assert edited("fair").metrics["mask_iou"] is not None
    looks.append(True)
    with pytest.raises(MethodError, match="looks at what it is judged by"):
        edited("unfair")
