"""Claims about scenes and their captions."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_edit.shapes.scene import Mix, captions, held_out, sample_scenes
from recipes.edit.model import MAX_TOKENS, build_tokenizer, token_ids

seeds = st.integers(0, 2**31 - 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_training_never_shows_a_held_out_triple(seed: int) -> None:
    scenes = sample_scenes(200, generator(seed), Mix(pair=0.5))
    for k in (0, 1):
        hidden = held_out(scenes.shape[:, k], scenes.colour[:, k], scenes.background)
        assert not (hidden & (scenes.pair if k else True)).any()


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_fresh_prompts_are_all_held_out(seed: int) -> None:
    scenes = sample_scenes(200, generator(seed), Mix(pair=0.5), fresh=True)
    assert held_out(scenes.shape[:, 0], scenes.colour[:, 0], scenes.background).all()


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_every_caption_is_known_words_that_fit_the_token_limit(seed: int) -> None:
    tokenizer = build_tokenizer()
    texts = captions(sample_scenes(100, generator(seed), Mix(pair=0.5)))
    ids = token_ids(tokenizer, texts)
    assert ids.shape == (100, MAX_TOKENS)
    assert not (ids == tokenizer.unk_token_id).any()
    lengths = [len(text.split()) + 2 for text in texts]
    assert max(lengths) <= MAX_TOKENS
    assert ((ids != tokenizer.pad_token_id).sum(1) == torch.tensor(lengths)).all()


def test_same_seed_gives_same_scenes_and_another_seed_does_not() -> None:
    first, again, other = (captions(sample_scenes(50, generator(s))) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_two_objects_never_share_a_colour_and_keep_their_order() -> None:
    scenes = sample_scenes(500, generator(0), Mix(pair=1.0))
    assert (scenes.colour[:, 0] != scenes.colour[:, 1]).all()
    first, second = scenes.centre.unbind(1)
    axis = scenes.relation[:, None]
    assert (first.gather(1, axis) < second.gather(1, axis)).all()


def test_layout_varies_under_one_caption() -> None:
    scenes = sample_scenes(5000, generator(0), Mix(pair=0.0))
    texts = captions(scenes)
    same = [i for i, text in enumerate(texts) if text == texts[0]]
    assert len(same) > 1
    assert len({tuple(scenes.centre[i, 0].tolist()) for i in same}) == len(same)


def test_a_mix_decides_how_often_textures_and_dots_are_drawn() -> None:
    mix = Mix(pair=0.0, textured=0.9, dotted=0.7)
    texture = sample_scenes(4000, generator(0), mix).texture[:, 0]
    striped, dotted = ((texture == index).float().mean() for index in (1, 2))
    assert abs(striped - 0.27) < 0.03
    assert abs(dotted - 0.63) < 0.03
