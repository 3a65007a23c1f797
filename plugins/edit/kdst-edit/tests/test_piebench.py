"""PIE-Bench's layout is read as published, and its measures are the published ones."""

import json
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_edit.models.layouts import letter_tokenizer
from kdst_edit.piebench.learned import Learned
from kdst_edit.piebench.measures import by_kind, pixel_measures, score, summary
from kdst_edit.piebench.reader import IMAGES, MAPPING, SIDE, Item, decode, encode, entry, read
from kdst_edit.shapes import attributes


def small_benchmark(folder: Path, count: int = 3) -> list[Item]:
    """Write a synthetic folder in PIE-Bench's layout; returns what a reader should find."""
    generator = np.random.default_rng(0)
    items = []
    for number in range(count):
        path = folder / IMAGES / f"{number}_kind" / f"{number:012d}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        mask[[0, -1]] = mask[:, [0, -1]] = True
        mask[100 : 200 + number, 50:300] = True
        source, target = "a red disc on a white background", "a blue disc on a white background"
        items.append(
            Item(
                f"{number:012d}",
                path,
                source,
                target,
                "make it blue",
                number,
                ("red", "blue"),
                mask,
            )
        )
    mapping = {item.name: dict(entry(item)) for item in items}
    for row in mapping.values():
        row["original_prompt"] = row["original_prompt"].replace("red", "[red]")
        row["editing_prompt"] = row["editing_prompt"].replace("blue", "[blue]")
    (folder / MAPPING).write_text(json.dumps(mapping))
    return items


def test_a_folder_in_the_published_layout_is_read(tmp_path: Path) -> None:
    wanted = small_benchmark(tmp_path)
    for found, item in zip(read(tmp_path), wanted, strict=True):
        assert (found.name, found.image, found.kind) == (item.name, item.image, item.kind)
        assert (found.source, found.target, found.words) == (item.source, item.target, item.words)
        assert (found.mask == item.mask).all()
    assert [item.kind for item in read(tmp_path, kinds=[1])] == [1]


def test_the_run_length_code_is_start_and_length_in_rows_with_a_true_border() -> None:
    mask = decode([5 * SIDE + 7, 3, 6 * SIDE - 2, 4])
    assert mask[5, 7:10].all()
    assert mask[5, -2:].all()
    assert mask[6, :2].all()
    assert mask[[0, -1]].all()
    assert mask[:, [0, -1]].all()
    assert mask[1:-1, 1:-1].sum() == 3 + 1 + 1


@settings(max_examples=30)
@given(arrays(bool, (24, 24)))
def test_encoding_is_undone_by_decoding(inner: Any) -> None:
    inner[[0, -1]] = inner[:, [0, -1]] = True
    assert (decode(encode(inner), 24) == inner).all()


@pytest.mark.parametrize("runs", [[1], [-1, 3], [SIDE * SIDE, 1], [0.5, 1], ["0", "1"]])
def test_codes_that_no_mask_has_are_refused(runs: list[Any]) -> None:
    with pytest.raises(ValueError, match="mask"):
        decode(runs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask": [1]}, "pairs of a start and a length"),
        ({"image_path": "../../secret.png"}, "which is not there"),
        ({"image_path": "0_kind/none.jpg"}, "which is not there"),
        ({"editing_type_id": "x"}, "is not as PIE-Bench's"),
        ({"original_prompt": None}, "is not as PIE-Bench's"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    small_benchmark(tmp_path / "pie")
    (tmp_path / "secret.png").write_bytes(b"")
    path = tmp_path / "pie" / MAPPING
    mapping = json.loads(path.read_text())
    mapping["000000000000"] |= change
    path.write_text(json.dumps(mapping))
    with pytest.raises(KdstError, match=said) as caught:
        read(tmp_path / "pie")
    assert "000000000000" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["../1", "/tmp/1", "..", "a/b", ""])
def test_names_of_items_stay_within_the_folder_of_runs(tmp_path: Path, name: str) -> None:
    small_benchmark(tmp_path, 1)
    mapping = json.loads((tmp_path / MAPPING).read_text())
    (tmp_path / MAPPING).write_text(json.dumps({name: mapping["000000000000"]}))
    with pytest.raises(KdstError, match="no name of an item"):
        read(tmp_path)


def test_a_folder_that_is_not_the_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="is not PIE-Bench"):
        read(tmp_path)
    (tmp_path / MAPPING).write_text("[")
    with pytest.raises(KdstError, match="cannot be read as JSON"):
        read(tmp_path)
    (tmp_path / MAPPING).write_text("{}")
    with pytest.raises(KdstError, match="holds no items"):
        read(tmp_path)


def test_pixel_measures_blacken_the_region_and_average_over_all_pixels() -> None:
    generator = np.random.default_rng(1)
    source, edit = generator.random((2, 64, 64, 3))
    mask = np.zeros((64, 64), dtype=bool)
    mask[:32] = True
    found = score(source, edit, mask, "a")
    outside = ((source - edit)[32:] ** 2).mean()
    assert found["background_mse"] == pytest.approx(outside / 2)
    assert found["background_psnr"] == pytest.approx(-10 * np.log10(outside / 2))
    changed = np.where(mask[..., None], 0.3, edit)
    assert score(source, changed, mask, "a") == found


def gaussian_ssim(x: Any, y: Any) -> float:
    """Wang et al. (2004) written out: an 11×11 Gaussian window of 1.5, where it fits whole."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = torch.from_numpy(np.outer(weights, weights) / weights.sum() ** 2)[None, None]

    def blurred(image: Any) -> Any:
        planes = torch.from_numpy(image).permute(2, 0, 1)[:, None]
        return torch.nn.functional.conv2d(planes, kernel)

    mx, my = blurred(x), blurred(y)
    vx, vy, both = blurred(x * x) - mx**2, blurred(y * y) - my**2, blurred(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mx * my + c1) * (2 * both + c2)
    return float((top / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def test_ssim_is_the_published_definition() -> None:
    source, edit = np.random.default_rng(2).random((2, 40, 48, 3))
    assert pixel_measures(source, edit)["background_ssim"] == pytest.approx(
        gaussian_ssim(source, edit), abs=1e-6
    )


def test_equal_images_have_finite_measures() -> None:
    image = np.random.default_rng(3).random((32, 32, 3))
    found = pixel_measures(image, image)
    assert found == {"background_psnr": 100.0, "background_mse": 0.0, "background_ssim": 1.0}


def test_the_summary_is_the_mean_of_what_all_items_have() -> None:
    rows = {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0}}
    assert summary(rows) == {"x": 2.0}
    assert summary({}) == {}


def test_the_summary_of_a_kind_is_that_of_its_items() -> None:
    rows = {"a": {"x": 1.0}, "b": {"x": 3.0}, "c": {"x": 8.0, "y": 1.0}}
    found = by_kind({"a": 6, "b": 6, "c": 1, "d": 2}, rows)
    assert found == {"change object": {"x": 8.0, "y": 1.0}, "change colour": {"x": 2.0}}


def test_measures_without_weights_are_left_out_with_the_reason() -> None:
    learned = Learned.load()
    assert learned.measures == ()
    assert set(learned.missing) == {"clip", "dino", "lpips"}
    assert "no weights were given; --dino names them" in learned.missing["dino"]


@pytest.fixture(scope="module")
def small_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        patch_size=56,
        image_size=224,
    )
    with silence_libraries("diffusers"):
        ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_structure_distance_compares_the_self_similarity_of_the_last_keys(small_vit: Path) -> None:
    from transformers import ViTModel

    source, edit = np.random.default_rng(4).random((2, 224, 224, 3))
    learned = Learned.load(dino=small_vit)
    found = learned.score(source, edit, np.ones((224, 224), dtype=bool), "")
    with silence_libraries("diffusers"):
        model = ViTModel.from_pretrained(small_vit, add_pooling_layer=False).eval()
    similarities = []
    for image in (source, edit):
        pixels = torch.from_numpy((image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
        with torch.no_grad():
            states = model(pixels.permute(2, 0, 1)[None].float(), output_hidden_states=True)
            layer = model.layers[-1]
            keys = layer.attention.k_proj(layer.layernorm_before(states.hidden_states[-2]))[0]
        norms = keys.norm(dim=1)
        similarities.append((keys @ keys.T) / (norms[:, None] * norms))
    wanted = float((similarities[0] - similarities[1]).square().mean())
    assert found["structure_distance"] == pytest.approx(wanted, rel=1e-4)
    assert learned.score(source, source, np.ones((1, 1)), "")["structure_distance"] == 0


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    with silence_libraries("diffusers"):
        from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

        tokenizer = letter_tokenizer()
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        config = CLIPConfig(
            text_config={
                **sizes,
                "num_attention_heads": 2,
                "vocab_size": len(tokenizer),
                "bos_token_id": len(tokenizer) - 2,
                "eos_token_id": len(tokenizer) - 1,
                "pad_token_id": len(tokenizer) - 1,
            },
            vision_config={**sizes, "num_attention_heads": 2, "image_size": 224, "patch_size": 56},
            projection_dim=8,
        )
        CLIPModel(config).save_pretrained(folder)
        CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
    return folder


def test_clip_scores_the_edit_and_its_region_against_the_target(small_clip: Path) -> None:
    source, edit = np.random.default_rng(5).random((2, 64, 64, 3))
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:40, 10:40] = True
    learned = Learned.load(clip=small_clip)
    found = learned.score(source, edit, mask, "a cat")
    assert found["clip_whole"] != found["clip_edited"]
    outside = np.where(mask[..., None], edit, 0.9)
    assert learned.score(source, outside, mask, "a cat")["clip_edited"] == found["clip_edited"]
    texts = ("a cat", "a dog", "two horses", "x", "a very long text of many words", "0 1 2")
    scores = {learned.score(source, edit, mask, text)["clip_whole"] for text in texts}
    assert len(scores) > 1
    assert all(0 <= value <= 100 for value in scores)


@pytest.mark.parametrize("name", ["clip", "dino"])
def test_a_directory_without_the_model_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KdstError, match=f"--{name} .* holds no such model"):
        Learned.load(**{name: tmp_path})


def test_the_table_asks_for_one_change_a_seed() -> None:
    """Each item of the benchmark's table changes one attribute of its caption, kind by kind."""
    path = Path(__file__).parents[4] / "benchmarks" / "edit_table.py"
    if not path.is_file() or not all(find_spec(f"kdst_{m}") for m in ("p2p", "pnp", "masactrl")):
        pytest.skip("the benchmark or a method of it is not here")
    spec = spec_from_file_location("edit_table", path)
    assert spec
    assert spec.loader
    table = module_from_spec(spec)
    spec.loader.exec_module(table)
    for seed in range(8):
        _, source, target = table.item(seed)
        before, after = attributes.parse(source), attributes.parse(target)
        assert before
        assert after
        old, new = before.attributes(), after.attributes()
        assert [k for k in new if old.get(k) != new[k]] == [table.KINDS_OF_EDIT[seed % 4]]
    rows = [
        {"background_psnr": 30.0, "kept_psnr": 20.0, "background_ssim": 0.9, "iou": 1, "success": 1}
    ]
    assert len(table.lines({"p2p/direct": rows * 2})) == 3
