"""CLIP-like models as classifiers: prompts of the classes, norm layers of the image tower."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import kdst_core
from kdst_adapt import load, loop
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.kit import select_parameters
from kdst_adapt.models import classifier, clip
from kdst_adapt.models.text import TextTower
from kdst_adapt.testing import save_clip
from kdst_core.bench.contract import Job
from kdst_core.errors import KdstError
from kdst_core.plugins import method
from kdst_core.runs.rundir import Run

transformers = pytest.importorskip("transformers")

NAMES = ["cat", "sea_lion", "dog"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a small CLIP model."""
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder


def test_logits_are_those_of_transformers(place: Path) -> None:
    ours = clip.load(str(place), ["cat", "sea_lion", "dog"], [clip.TEMPLATE])
    net = transformers.CLIPModel.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    prompts = [f"a photo of a {name}." for name in ("cat", "sea lion", "dog")]
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (clip.MEAN, clip.STD))
    with torch.no_grad():
        tokens = tokenizer(prompts, padding=True, return_tensors="pt")
        theirs = net(pixel_values=(x - mean) / std, **tokens).logits_per_image
        assert torch.allclose(ours(x), theirs, atol=1e-4)
        features = ours.image_features(x)
        assert torch.equal(ours.logit_scale * (features @ ours.text_features.T), ours(x))
        assert torch.allclose(features.norm(dim=1), torch.ones(4))
        grey = ours(x[:, :1])
        assert torch.equal(grey, ours(x[:, :1].repeat(1, 3, 1, 1)))
        assert ours(torch.rand(2, 3, 48, 40)).shape == (2, 3)


def test_a_model_without_a_head_is_refused_in_a_line_and_nothing_else_is_printed(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KdstError, match="which would be random"):
        classifier.load(AdaptInputs(model=f"transformers:{place}"))
    clip.load(str(place), ["cat", "dog"], [clip.TEMPLATE])
    assert capfd.readouterr() == ("", "")


def test_a_class_has_the_mean_of_its_prompts(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "templates.txt"
    file.write_text("a {}.\n\nart of the {}\n")
    both = clip.load(str(place), ["cat", "dog"], clip.read_templates(file))
    one, two = (clip.load(str(place), ["cat", "dog"], [t]) for t in ("a {}.", "art of the {}"))
    mean = (one.text_features + two.text_features) / 2
    expected = mean / mean.norm(dim=1, keepdim=True)
    assert torch.allclose(both.text_features, expected, atol=1e-6)


def test_norm_layers_of_the_image_tower_are_what_is_adapted(place: Path) -> None:
    net = clip.load(str(place), ["cat", "dog"], [clip.TEMPLATE])
    named = select_parameters(net, "norm-affine")
    assert named
    assert all(name.startswith("vision.") and "norm" in name for name in named)
    assert not any("text" in name for name, _ in net.named_parameters())


def test_methods_run_on_it_and_its_classes_are_named_by_folders(
    place: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("zebra", "ant"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for k in range(4):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "d" / name / f"{k}.png")
    wanted: dict[str, Any] = {"data": f"folder:{tmp_path / 'd'}", "model": f"clip:{place}"}
    found = kdst_core.run("norm", out=tmp_path / "r", batch_size=4, **wanted)
    assert found.data["input"]["num_classes"] == 2
    told = {f["what"]: f["sentence"] for f in found.data["audit"]}
    assert told["classes"] == "2 class folders have their logits by the model's own names."
    pytest.importorskip("kdst_tent")
    tent = kdst_core.run("tent", out=tmp_path / "t", batch_size=4, **wanted)
    assert tent.metrics["updates"] == 2
    assert tent.metrics["after_update.nll.mean"] != tent.metrics["before_update.nll.mean"]


class Asked:
    """A method that keeps the request that it is called with."""

    def __init__(self, inner: method.Method) -> None:
        self.name, self.description = "asked", inner.description
        self.inner, self.request = inner, None

    def call(self, request: Any, options: Any, run: Any) -> Any:
        self.request = request
        return self.inner.call(request, options, run)


@pytest.mark.parametrize("model", ["clip", "embedded"])
def test_a_method_is_given_the_features_of_the_classes(
    place: Path, tmp_path: Path, model: str
) -> None:
    asked: Any = Asked(method.load("norm"))
    name = f"clip:{place}" if model == "clip" else model
    inputs = AdaptInputs(model=name, images=4, types=["fog"], batch_size=4)
    job = Job(asked, asked.description.options(), inputs, 0, "cpu")
    target = load.load(job)
    loop._predictor(target, asked, Run(tmp_path / "r", seed=0, device="cpu", show="quiet"))
    if model == "embedded":
        assert asked.request.text_features is None
        return
    net: Any = asked.request.model
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        product = net.image_features(x) @ asked.request.text_features.T
        assert torch.equal(net.logit_scale * product, net(x))
    assert len(asked.request.text_features) == 10, "the digits have names"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "npz:d.npz"}, r"the data \(npz\) do not name their classes"),
        ({"class_names": "one.txt"}, "two names or more, each once"),
        ({"class_names": "missing.txt"}, "cannot be read"),
        ({"templates": "wrong.txt"}, "'a photo' has not one {}"),
        ({"templates": "long.txt"}, "more than the 40 tokens"),
        ({"weights": "w.pt"}, "--weights is not for"),
        ({"model": "clip:nowhere"}, "clip:nowhere cannot be read"),
        ({"model": "clip:/no/where"}, "cannot be read: there is no such folder"),
        ({"model": "transformers:/no/where"}, "cannot be read: there is no such folder"),
        ({"model": "resnet20", "templates": "long.txt"}, "is for --model clip:DIR"),
    ],
)
def test_bad_input_is_refused(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("cat\n")
    Path("wrong.txt").write_text("a photo\n")
    Path("long.txt").write_text(f"a photo of a {'very ' * 12}large {{}}\n")
    paths = {"class_names", "templates", "weights"}
    values = {k: Path(v) if k in paths else v for k, v in given.items()}
    with pytest.raises(KdstError, match=message):
        classifier.load(AdaptInputs(**{"model": f"clip:{place}", **values}))


def changed(place: Path, folder: Path, file: str, content: str | None) -> Path:
    """A copy of a directory with one file of other content, or without it."""
    shutil.copytree(place, folder)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    return folder


def test_prompts_are_padded_at_their_end_whatever_the_tokenizer_does(
    place: Path, tmp_path: Path
) -> None:
    told = json.loads((place / "tokenizer_config.json").read_text())
    left = json.dumps({**told, "padding_side": "left"})
    other = changed(place, tmp_path / "left", "tokenizer_config.json", left)
    ours, theirs = (clip.load(str(p), NAMES, [clip.TEMPLATE]) for p in (place, other))
    assert torch.equal(ours.text_features, theirs.text_features)


def test_weights_of_half_precision_are_computed_with_in_float32(
    place: Path, tmp_path: Path
) -> None:
    net = transformers.CLIPModel.from_pretrained(place).to(torch.bfloat16)
    for name, kept in (("half", net), ("full", copy.deepcopy(net).float())):
        shutil.copytree(place, tmp_path / name)
        kept.save_pretrained(tmp_path / name)
    half, full = (clip.load(str(tmp_path / n), NAMES, [clip.TEMPLATE]) for n in ("half", "full"))
    assert half.logit_scale == full.logit_scale
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(half(x), full(x))


def test_images_that_a_preprocessor_leaves_alone_are_left_alone(
    place: Path, tmp_path: Path
) -> None:
    file, content = "preprocessor_config.json", '{"do_normalize": false}'
    bare = clip.load(str(changed(place, tmp_path / "p", file, content)), NAMES, [clip.TEMPLATE])
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    means = ((0.0,), (1.0,))
    assert torch.equal(bare(x), clip.load(str(place), NAMES, [clip.TEMPLATE], *means)(x))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "does not know all words of the prompt 'a photo of a cat.'"),
        ("tokenizer.json", "{", "cannot be read"),
        ("model.safetensors", "no weights", "cannot be read"),
        ("config.json", "[]", "cannot be read"),
        ("preprocessor_config.json", "[]", "does not hold image_mean"),
        (
            "preprocessor_config.json",
            '{"image_mean": [0, 0, 0], "image_std": [1, 1, 0]}',
            "above 0",
        ),
        ("preprocessor_config.json", '{"image_mean": [0, 0], "image_std": [1, 1]}', "or three"),
        (
            "preprocessor_config.json",
            '{"image_mean": [NaN], "image_std": [1]}',
            "one finite number",
        ),
        (
            "preprocessor_config.json",
            '{"image_mean": [0], "image_std": [1], "rescale_factor": 0}',
            "rescale_factor is no number above 0",
        ),
        (
            "preprocessor_config.json",
            f'{{"image_mean": [1{"0" * 400}], "image_std": [1]}}',
            "does not hold image_mean",
        ),
    ],
)
def test_damaged_directories_are_refused(
    place: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    folder = changed(place, tmp_path / "c", file, content)
    if content is None:
        (folder / "tokenizer_config.json").unlink()
    with pytest.raises(KdstError, match=message):
        clip.load(str(folder), NAMES, [clip.TEMPLATE])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["hot_dog", "hot dog"], "as one and the same"),
        (["cat", "猫"], "does not know all words of the prompt 'a photo of a 猫.'"),
    ],
)
def test_prompts_that_the_tokenizer_does_not_tell_apart_are_refused(
    place: Path, names: list[str], message: str
) -> None:
    with pytest.raises(KdstError, match=message):
        clip.load(str(place), names, [clip.TEMPLATE])


def test_a_tokenizer_without_an_end_of_text_is_refused(place: Path) -> None:
    net = transformers.CLIPModel.from_pretrained(place)
    whole: Any = transformers.AutoTokenizer.from_pretrained(place)

    class Endless:
        eos_token_id = whole.eos_token_id

        def __call__(self, prompts: list[str], **asked: Any) -> Any:
            return whole(prompts, add_special_tokens=False, **asked)

    with pytest.raises(KdstError, match="without the tokens of a start and an end"):
        TextTower(net, Endless(), NAMES)(clip.TEMPLATE)


def test_folders_named_by_codes_need_names(place: Path) -> None:
    with pytest.raises(KdstError, match="'n01440764' is no name of a class"):
        classifier.load(AdaptInputs(model=f"clip:{place}"), None, ["n01440764", "n01443537"])
