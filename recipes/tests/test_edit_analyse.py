"""Claims about reading images back."""

import dataclasses

import torch

from kdst_edit.shapes.analyse import MIN_FIT, object_mask, read_object
from kdst_edit.shapes.render import object_masks, render
from kdst_edit.shapes.scene import Mix, sample_scenes
from recipes.edit.evaluate import score_analyser, score_single


def test_real_renders_are_read_right_at_least_98_times_in_100() -> None:
    scores = score_analyser(150, seed=7)
    position = scores.pop("position_error_px")
    assert position.value < 0.5
    for name, measured in scores.items():
        assert measured.value >= 0.98, name


def test_another_image_does_not_pass_for_the_one_that_was_asked_for() -> None:
    generator = torch.Generator().manual_seed(2)
    scenes = sample_scenes(200, generator, Mix(pair=0.0))
    others = sample_scenes(200, generator, Mix(pair=0.0))
    right = score_single(scenes, render(others))
    for name, kinds in (("background", 5), ("colour", 6), ("shape", 5)):
        assert right[name].float().mean() < 2 / kinds, name


def test_textures_are_told_by_their_pattern_and_not_by_their_brightness() -> None:
    scenes = sample_scenes(300, torch.Generator().manual_seed(5), Mix(pair=0.0, textured=0.9))
    scenes = scenes.select(scenes.texture[:, 0] > 0)
    plain = dataclasses.replace(scenes, texture=torch.zeros_like(scenes.texture))
    flat, inked = render(plain), render(scenes)
    dotted = (scenes.texture[:, 0] == 2)[:, None, None, None]
    ink = (inked - flat).abs().amax(1, keepdim=True)
    darker = flat - 0.4 * ink / ink.amax((2, 3), keepdim=True) * (flat + 1)
    lighter = flat + 0.6 * ink / ink.amax((2, 3), keepdim=True) * (1 - flat)
    exchanged = torch.where(dotted, darker, lighter)
    right = read_object(exchanged).texture == scenes.texture[:, 0]
    assert right.float().mean() > 0.95


def test_noise_and_empty_images_hold_no_shape() -> None:
    noise = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert (read_object(noise).fit < MIN_FIT).all()
    assert (read_object(torch.zeros(2, 3, 32, 32)).fit == 0).all()


def test_the_silhouette_is_found_under_a_sloping_background() -> None:
    scenes = sample_scenes(200, torch.Generator().manual_seed(3), Mix(pair=0.0, textured=0.0))
    found, coverage = object_mask(render(scenes)), object_masks(scenes)[:, 0]
    assert found[coverage == 1].all()
    assert not found[coverage == 0].any()
