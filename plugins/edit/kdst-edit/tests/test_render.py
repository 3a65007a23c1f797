"""Claims about rendered images."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_edit.shapes.analyse import object_mask
from kdst_edit.shapes.render import object_masks, palette, render
from kdst_edit.shapes.scene import BACKGROUNDS, COLOURS, SHAPES, Mix, Scenes, sample_scenes


def scenes_of(count: int, seed: int = 0, pair: float = 0.5) -> Scenes:
    return sample_scenes(count, torch.Generator().manual_seed(seed), Mix(pair=pair))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_images_are_finite_and_in_range(seed: int) -> None:
    images = render(scenes_of(40, seed))
    assert images.shape == (40, 3, 32, 32)
    assert images.abs().max() <= 1


def test_an_image_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    scenes = scenes_of(300)
    together = render(scenes)
    for i in (0, 127, 128, 299):
        assert torch.equal(render(scenes.select(torch.tensor([i])))[0], together[i])


def test_a_plain_object_has_its_palette_colour_where_it_covers_the_pixel_whole() -> None:
    scenes = scenes_of(100, pair=0.0)
    scenes = scenes.select(scenes.texture[:, 0] == 0)
    images, whole = render(scenes), object_masks(scenes)[:, 0] == 1
    wanted = palette(COLOURS)[scenes.colour[:, 0]]
    for image, mask, colour in zip(images, whole, wanted, strict=True):
        assert mask.any()
        torch.testing.assert_close(image[:, mask], colour[:, None].expand(-1, int(mask.sum())))


def test_texture_changes_the_object_and_nothing_else() -> None:
    scenes = scenes_of(100, pair=0.0)
    plain = dataclasses.replace(scenes, texture=torch.zeros_like(scenes.texture))
    changed = (render(scenes) != render(plain)).any(1)
    assert changed[scenes.texture[:, 0] > 0].flatten(1).any(1).all()
    assert not (changed & (object_masks(scenes)[:, 0] == 0)).any()


def test_a_new_colour_changes_pixels_covered_in_part_that_a_silhouette_misses() -> None:
    """So what an edit keeps of a render is judged outside its coverage, not outside its silhouette."""
    scenes = sample_scenes(100, torch.Generator().manual_seed(0), Mix(pair=0.0, textured=0.0))
    other = dataclasses.replace(scenes, colour=(scenes.colour + 1) % len(COLOURS))
    changed = (render(scenes) != render(other)).any(1)
    assert torch.equal(changed, object_masks(scenes)[:, 0] > 0)
    silhouettes = object_mask(render(scenes))
    assert not (silhouettes & ~changed).any()
    assert (changed & ~silhouettes).flatten(1).any(1).float().mean() > 0.5


def test_stripes_darken_and_dots_lighten() -> None:
    scenes = scenes_of(200, pair=0.0)
    plain = dataclasses.replace(scenes, texture=torch.zeros_like(scenes.texture))
    change = (render(scenes) - render(plain)).flatten(1)
    striped, dotted = (scenes.texture[:, 0] == index for index in (1, 2))
    assert (change[striped] <= 0).all()
    assert (change[dotted] >= 0).all()


def test_dots_are_a_pattern_that_the_middle_of_the_object_mirrors_and_stripes_are_not() -> None:
    scenes = scenes_of(200, pair=0.0)
    centred = torch.full_like(scenes.centre, 16.0)
    disc = torch.zeros_like(scenes.shape)
    level = torch.zeros_like(scenes.slope)
    images = render(dataclasses.replace(scenes, centre=centred, shape=disc, slope=level))
    mirrored = (images - images.flip(3)).abs().flatten(1).amax(1)
    assert mirrored[scenes.texture[:, 0] == 2].max() < 1e-4
    assert mirrored[scenes.texture[:, 0] == 1].min() > 0.2


def test_a_background_without_slope_is_flat() -> None:
    scenes = scenes_of(50)
    flat = dataclasses.replace(scenes, slope=torch.zeros_like(scenes.slope))
    outside = object_masks(flat).sum(1) == 0
    images = render(flat)
    for image, empty, index in zip(images, outside, flat.background, strict=True):
        colour = palette(BACKGROUNDS)[index]
        torch.testing.assert_close(image[:, empty], colour[:, None].expand(-1, int(empty.sum())))


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_silhouettes_keep_their_area_wherever_they_stand(shape: int) -> None:
    scenes = scenes_of(200, pair=0.0)
    scenes = dataclasses.replace(
        scenes,
        shape=torch.full_like(scenes.shape, shape),
        radius=torch.full_like(scenes.radius, 9.0),
    )
    area = object_masks(scenes)[:, 0].sum((1, 2))
    assert area.std() / area.mean() < 0.04
