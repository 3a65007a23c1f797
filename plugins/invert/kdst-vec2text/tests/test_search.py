"""Our decoding is T5's: greedy and beam search against plain renderings without any cache."""

import pytest
import torch
from torch import Tensor

from kdst_vec2text.decoder import Decoder
from kdst_vec2text.models import Hypothesiser, t5_config
from kdst_vec2text.search import beam_search

VOCABULARY = 24


def network(feed_forward: str = "relu", tied: bool = True) -> Hypothesiser:
    """A small network that ends its texts at different lengths, in float64."""
    torch.manual_seed(0)
    fields = {
        "vocab_size": VOCABULARY,
        "d_model": 16,
        "d_kv": 4,
        "num_heads": 4,
        "d_ff": 16,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "feed_forward_proj": feed_forward,
        "tie_word_embeddings": tied,
    }
    made = Hypothesiser(t5_config(fields), 5, 3).eval()
    for value in made.parameters():
        value.data += 0.3 * torch.randn(value.shape)
    made.encoder_decoder.lm_head.weight.data[made.eos] *= 4
    return made.double()


def inputs(made: Hypothesiser, count: int) -> tuple[Tensor, Tensor]:
    """Encoder inputs, the last token of every second row masked."""
    generator = torch.Generator().manual_seed(3)
    e = 3 * torch.randn(count, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        embeds, mask = made.inputs(e)
    mask[::2, -1] = 0
    return embeds, mask


def plain_beam(
    made: Hypothesiser, embeds: Tensor, mask: Tensor, beams: int, longest: int
) -> tuple[list[list[int]], list[float]]:
    """Beam search of one row, every prefix run through the whole model."""
    alive: list[tuple[list[int], float]] = [([], 0.0)]
    for _ in range(longest):
        options = [(ids, score) for ids, score in alive if ids and ids[-1] == made.eos]
        for ids, score in alive:
            if ids and ids[-1] == made.eos:
                continue
            tokens = torch.tensor([[made.pad, *ids]])
            logits = made.encoder_decoder(
                inputs_embeds=embeds,
                attention_mask=mask,
                decoder_input_ids=tokens,
                use_cache=False,
            ).logits[0, -1]
            for word, value in enumerate(logits.log_softmax(-1).tolist()):
                options.append(([*ids, word], score + value))
        alive = sorted(options, key=lambda o: -o[1])[:beams]
    return [ids for ids, _ in alive], [score for _, score in alive]


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("tied", [True, False])
def test_beam_search_equals_a_plain_rendering(feed_forward: str, tied: bool) -> None:
    made = network(feed_forward, tied)
    embeds, mask = inputs(made, 6)
    found = beam_search(made, Decoder(made.encoder_decoder), (embeds, mask), 3, 7)
    lengths = set()
    with torch.no_grad():
        for row in range(6):
            texts, scores = plain_beam(made, embeds[row : row + 1], mask[row : row + 1], 3, 7)
            ours = [
                ids[: ids.index(made.eos) + 1] if made.eos in ids else ids for ids in found.ids[row]
            ]
            assert ours == texts
            assert found.scores[row].tolist() == pytest.approx(scores, abs=1e-5)
            lengths |= set(map(len, texts))
    assert len(lengths) > 1, "every text has the same length, so nothing was dropped early"


def test_one_beam_is_the_greedy_search_of_transformers() -> None:
    made = network()
    embeds, mask = inputs(made, 9)
    found = beam_search(made, Decoder(made.encoder_decoder), (embeds, mask), 1, 12)
    with torch.no_grad():
        theirs = made.encoder_decoder.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=12, do_sample=False
        )[:, 1:].tolist()
    for (ours,), reference in zip(found.ids, theirs, strict=True):
        ended = reference.index(made.eos) + 1 if made.eos in reference else len(reference)
        assert ours[:ended] == reference[:ended]


def test_a_row_does_not_depend_on_rows_that_end_before_it() -> None:
    made = network()
    embeds, mask = inputs(made, 12)
    decoder = Decoder(made.encoder_decoder)
    together = beam_search(made, decoder, (embeds, mask), 2, 10).ids
    for row in range(12):
        alone = beam_search(made, decoder, (embeds[row : row + 1], mask[row : row + 1]), 2, 10)
        assert alone.ids[0] == together[row]


def test_texts_of_more_than_128_tokens_are_decoded() -> None:
    made = network().float()
    made.encoder_decoder.lm_head.weight.data[made.eos] = 0
    embeds, mask = inputs(made.double(), 1)
    found = beam_search(made, Decoder(made.encoder_decoder), (embeds, mask), 2, 140)
    assert len(found.ids[0][0]) == 140
    assert torch.isfinite(found.scores).all()
