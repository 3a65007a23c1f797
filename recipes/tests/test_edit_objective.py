"""Claims about the training objective."""

import torch
from torch.nn import functional as F

from kdst_edit.shapes.scene import Mix
from recipes.edit.model import build_tokenizer, token_ids
from recipes.edit.objective import MIDDLE, Batch, attention_errors, draw_batch, word_owners

TOKENIZER = build_tokenizer()


def batch_of(count: int, pair: float, dropout: float = 0.0) -> Batch:
    return draw_batch(count, torch.Generator().manual_seed(4), TOKENIZER, Mix(pair=pair), dropout)


def owned(caption: str) -> dict[str, int]:
    ids = token_ids(TOKENIZER, [caption])
    owners = word_owners(ids, TOKENIZER)[0].tolist()
    words = TOKENIZER.convert_ids_to_tokens(ids[0].tolist())
    return {word: owner for word, owner in zip(words, owners, strict=True) if owner >= 0}


def test_object_words_belong_to_the_object_they_describe() -> None:
    single = "a large striped red ring on a pink background"
    assert owned(single) == {"striped": 0, "red": 0, "ring": 0}
    pair = "a red disc above a blue bar on a white background"
    assert owned(pair) == {"red": 0, "disc": 0, "blue": 1, "bar": 1}
    assert owned("") == {}


def masks_as_attention(batch: Batch, object_of: torch.Tensor) -> torch.Tensor:
    """Attention (B, 256, 16) that shows each word the mask of object `object_of` (B, 16)."""
    shown = batch.masks.flatten(2).gather(1, object_of[..., None].expand(-1, -1, 256))
    return shown.mT


def test_attention_on_the_objects_alone_has_no_error_and_exchanged_attention_a_large_one() -> None:
    batch = batch_of(40, pair=1.0)
    owners = word_owners(batch.tokens, TOKENIZER).clamp(min=0)
    right = attention_errors(masks_as_attention(batch, owners), batch, TOKENIZER)
    assert right.shape == (160,)
    torch.testing.assert_close(right, torch.zeros(160), atol=1e-4, rtol=0)
    exchanged = attention_errors(masks_as_attention(batch, 1 - owners), batch, TOKENIZER)
    assert exchanged.min() > 5


def test_attention_spread_evenly_has_the_error_of_the_masks_own_entropy() -> None:
    batch = batch_of(40, pair=0.0)
    errors = attention_errors(torch.full((40, 256, 16), 1 / 16), batch, TOKENIZER)
    words = (word_owners(batch.tokens, TOKENIZER) >= 0).sum(1)
    mask = batch.masks[:, 0].flatten(1)
    mask = mask / mask.sum(1, keepdim=True)
    entropy = -torch.xlogy(mask, mask).sum(1)
    wanted = (torch.tensor(256.0).log() - entropy).repeat_interleave(words)
    torch.testing.assert_close(errors, wanted, atol=1e-4, rtol=1e-5)


def test_a_batch_without_captions_asks_nothing_of_the_attention() -> None:
    batch = batch_of(8, pair=0.5, dropout=0.999)
    assert attention_errors(torch.ones(8, 256, 16), batch, TOKENIZER).numel() == 0


def test_half_a_batch_can_be_drawn_from_the_middle_levels_and_the_rest_covers_all() -> None:
    generator = torch.Generator().manual_seed(0)
    low, high = MIDDLE
    levels = draw_batch(64, generator, TOKENIZER, Mix(), 0.1, middle_share=0.5).levels
    assert ((low <= levels[:32]) & (levels[:32] < high)).all()
    for part, (start, end) in ((levels[:32], MIDDLE), (levels[32:], (0, 1000))):
        below = start + torch.arange(32) * (end - start) // 32
        assert ((part >= below) & (part <= below + (end - start) / 32)).all()


def test_masks_of_a_batch_lie_where_its_images_show_an_object() -> None:
    batch = batch_of(60, pair=0.0)
    covered = F.interpolate(batch.masks[:, :1], scale_factor=2.0)[:, 0] == 1
    edge = torch.zeros(32, 32, dtype=torch.bool)
    edge[0], edge[-1] = True, True
    backdrop = batch.images[..., edge].median(-1).values
    away = (batch.images - backdrop[..., None, None]).abs().amax(1)
    assert (away[covered] > 0.2).float().mean() > 0.97
