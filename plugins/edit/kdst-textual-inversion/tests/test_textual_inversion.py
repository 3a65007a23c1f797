"""A new word is learned from a few images and then works in prompts that none of them showed."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from kdst_authors.testing import check_plugin, make_run
from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run
from kdst_edit.models.latents import condition, digest
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_edit.shapes.analyse import object_mask
from kdst_edit.shapes.scene import COLOURS
from kdst_textual_inversion import Options, concept, edit, word
from kdst_textual_inversion.method import placed

FRESH = ("a <new> cross on a black background", "a <new> ring on a white background")


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load("tiny")


def request(pipeline: Any, targets: tuple[str, ...] = FRESH, steps: int = 15) -> EditRequest:
    generator = torch.Generator().manual_seed(0)
    channels, side = pipeline.unet.config.in_channels, pipeline.unet.config.sample_size
    noise = torch.randn(1, channels, side, side, generator=generator)
    return EditRequest(
        pipeline,
        "a red disc on a white background",
        None,
        targets,
        generator,
        noise,
        num_steps=steps,
        guidance=3.0,
    )


def run_in(path: Path) -> Run:
    return make_run(path, codec=TorchCodec())


def object_colour(image: Tensor) -> Tensor:
    """Median colour (3,) in [0, 255] of the object."""
    inside = object_mask(2 * image[None] - 1)[0]
    return 255 * image[:, inside].median(1).values


def test_the_learned_word_colours_shapes_and_backgrounds_that_no_image_showed(
    tiny: Any, tmp_path: Path
) -> None:
    done = edit(request(tiny), Options(), run_in(tmp_path / "r"))
    said = " ".join(c for cs in concept.embedded(tiny).captions for c in cs)
    assert not {"cross", "black", "ring", "white"} & set(said.split())
    wanted = torch.tensor(concept.AZURE).float()
    known = torch.tensor(list(COLOURS.values())).float()
    for image in done.images:
        seen = object_colour(image.image)
        assert (seen - wanted).norm() < 0.75 * (seen - known).norm(dim=1).min()


def test_only_the_words_vector_is_trained_and_all_is_restored(tiny: Any, tmp_path: Path) -> None:
    before = digest(tiny), tiny.tokenizer, tiny.text_encoder.get_input_embeddings()
    edit(request(tiny, steps=2), Options(train_steps=3), run_in(tmp_path / "r"))
    assert (digest(tiny), tiny.tokenizer, tiny.text_encoder.get_input_embeddings()) == before
    assert "<new>" not in tiny.tokenizer.get_vocab()
    assert all(p.grad is None for p in tiny.unet.parameters())


def test_a_word_with_the_embedding_of_another_means_the_same(tiny: Any) -> None:
    vector = word.initial_vector(tiny, "green")
    wanted = condition(tiny, ["a green bar on a pink background"], (32, 32)).embeddings
    with word.spoken(tiny, "<new>", vector):
        ours = condition(tiny, ["a <new> bar on a pink background"], (32, 32)).embeddings
    assert torch.equal(ours, wanted)


def test_the_word_gets_the_gradient_that_the_equation_gives(tiny: Any) -> None:
    vector = word.initial_vector(tiny, "green").double()
    tiny.text_encoder.double()
    with word.spoken(tiny, "<new>", vector) as added:
        out = condition(tiny, ["a <new> bar"], (32, 32), gradients=True).embeddings.square().sum()
        (found,) = torch.autograd.grad(out, added.vector)
        step = 1e-6 * torch.ones_like(vector)
        sums = []
        for shift in (step, -step):
            added.vector.data = vector + shift
            sums.append(condition(tiny, ["a <new> bar"], (32, 32)).embeddings.square().sum())
    tiny.text_encoder.float()
    assert torch.allclose((sums[0] - sums[1]) / 2e-6, found.sum(), rtol=1e-5)


class Killed(BaseException):
    """Stands for a process that ends at once."""


def test_training_that_was_killed_continues_to_the_same_word(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(train_steps=6)
    monkeypatch.setattr("kdst_textual_inversion.learn.KEEP_EVERY", 0.0)
    edit(request(tiny, steps=2), options, run_in(tmp_path / "whole"))
    broken, log = run_in(tmp_path / "broken"), Run.log

    def stop(self: Run, name: str, value: float, step: int) -> None:
        if step == 4:
            raise Killed
        log(self, name, value, step)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", stop)
        with pytest.raises(Killed):
            edit(request(tiny, steps=2), options, broken)
    assert not (tmp_path / "broken" / "artifacts" / "word.safetensors").exists()
    edit(request(tiny, steps=2), options, broken)
    files = [tmp_path / name / "artifacts" / "word.safetensors" for name in ("whole", "broken")]
    assert torch.equal(*(word.read(file) for file in files))


def test_a_learned_word_is_used_again_without_training(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(train_steps=2)
    first = edit(request(tiny, steps=2), options, run_in(tmp_path / "first"))
    monkeypatch.setattr("kdst_textual_inversion.method.learn", lambda *_: pytest.fail("trained"))
    file = tmp_path / "first" / "artifacts" / "word.safetensors"
    again = edit(
        request(tiny, steps=2), attrs.evolve(options, learned=file), run_in(tmp_path / "again")
    )
    assert torch.equal(first.images[0].image, again.images[0].image)


@pytest.mark.parametrize("layout", ["sd15", "sd21"])
def test_a_word_is_learned_in_the_layouts_of_stable_diffusion(layout: Any, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "concept"
    folder.mkdir()
    for i, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (80, 64), colour).save(folder / f"{i}.png")
    (folder / "1.txt").write_text("a {} on a table\n")
    pipeline = build(layout, latent_size=8)
    options = Options(concept=folder, initial="cat", train_steps=2, batch=2)
    asked = request(pipeline, ("a photo of a <new>",), 2)
    done = edit(asked, options, run_in(tmp_path / "r"))
    assert done.images[0].image.shape == (3, 64, 64)
    before = word.initial_vector(pipeline, "cat")
    assert not torch.equal(word.read(tmp_path / "r" / "artifacts" / "word.safetensors"), before)


def test_targets_without_the_word_get_it_or_a_warning(tiny: Any, tmp_path: Path) -> None:
    assert placed("a blue disc", "<new>", "blue") == "a <new> disc"
    assert placed("a <new> blue disc", "<new>", "blue") == "a <new> blue disc"
    asked = request(
        tiny, ("a blue disc on a white background", "a red bar on a pink background"), 2
    )
    done = edit(asked, Options(train_steps=1), run_in(tmp_path / "r"))
    assert [image.prompt for image in done.images] == list(asked.targets)
    assert len(done.warnings) == 1
    assert "'a red bar on a pink background' has neither <new> nor 'blue'" in done.warnings[0]


def refused(pipeline: Any, tmp_path: Path, **given: Any) -> str:
    with pytest.raises(KdstError) as caught:
        edit(request(pipeline, steps=2), Options(**given), make_run(tmp_path / "r"))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "r" / "artifacts" / "word.safetensors").exists()
    return message


def test_bad_input_is_refused_in_one_line(tiny: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "not a directory" in refused(tiny, tmp_path, concept=tmp_path / "none")
    assert "has no images" in refused(tiny, tmp_path, concept=empty)
    (empty / "a.png").write_text("text")
    assert "no image that Pillow knows" in refused(tiny, tmp_path, concept=empty)
    assert "no learned word" in refused(tiny, tmp_path, learned=empty / "a.png")
    assert "no word of this model" in refused(tiny, tmp_path, initial="zebra")
    assert "already" in refused(tiny, tmp_path, word="red")
    assert "one word without spaces" in refused(tiny, tmp_path, word="new thing")
    word.save(tmp_path / "w.safetensors", "<new>", torch.zeros(7))
    assert "another model" in refused(tiny, tmp_path, learned=tmp_path / "w.safetensors")
    assert "give --concept" in refused(build("sd15", latent_size=8), tmp_path, initial="cat")
    assert "two text encoders" in refused(build("sdxl", latent_size=8), tmp_path, initial="cat")


def test_a_caption_must_say_where_the_word_stands(tiny: Any, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "concept"
    folder.mkdir()
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    (folder / "a.txt").write_text("a disc")
    assert "must hold {} once" in refused(tiny, tmp_path, concept=folder)
    (folder / "a.txt").unlink()
    assert "1 images; 3 to 5" in concept.read(folder, tiny).notes[0]


@pytest.mark.slow
def test_conforms() -> None:
    check_plugin("textual-inversion")
