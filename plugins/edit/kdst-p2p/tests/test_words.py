"""How words are paired when prompts are changed."""

import torch

from kdst_edit.layouts import letter_tokenizer
from kdst_p2p.alignment import replace_mapper
from kdst_p2p.settings import kind_of


def test_auto_swaps_only_where_common_words_stay_in_place() -> None:
    assert kind_of("a red disc", "a blue disc", "auto") == "swap"
    assert kind_of("a red disc, drawn", "a Blue disc drawn", "auto") == "swap"
    assert kind_of("a large red disc", "a red plain disc", "auto") == "refine"
    assert kind_of("a red disc", "a disc", "auto") == "refine"


def test_every_column_behind_a_shorter_word_takes_attention() -> None:
    mapper = replace_mapper("a squirrel x", "a cat x", letter_tokenizer(), 77, profile="corrected")
    assert torch.equal(mapper.sum(0)[5:], torch.ones(72))
