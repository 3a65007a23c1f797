"""Augmentations of a batch that several methods share."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_adapt.augment import augment


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(3, 33),
    width=st.integers(3, 33),
    channels=st.sampled_from([1, 2, 3]),
    flip=st.booleans(),
    soften=st.booleans(),
    reflect=st.booleans(),
)
def test_augmentations_of_any_batch_stay_in_range_and_follow_the_generator(
    seed: int, height: int, width: int, channels: int, flip: bool, soften: bool, reflect: bool
) -> None:
    x = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(seed))
    first, second = (
        augment(x, torch.Generator().manual_seed(seed), flip=flip, soften=soften, reflect=reflect)
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.shape == x.shape
    assert 0 <= first.min() <= first.max() <= 1
    assert not torch.allclose(first, x, atol=1e-3)


def test_grey_pictures_keep_no_hue() -> None:
    grey = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, 3, 16, 16)
    changed = augment(grey, torch.Generator().manual_seed(1))
    assert (changed.amax(1) - changed.amin(1)).max() < 0.05  # the noise has a deviation of .005


def test_what_is_beyond_the_border_repeats_it_or_mirrors_the_image() -> None:
    """The same draws give the same picture where the image has not moved away."""
    x = torch.rand(1, 1, 33, 33, generator=torch.Generator().manual_seed(0))
    repeated, mirrored = (
        augment(x, torch.Generator().manual_seed(2), soften=False, reflect=reflect)
        for reflect in (False, True)
    )
    apart = repeated != mirrored
    assert apart.any()
    assert not apart[..., 12:21, 12:21].any()
