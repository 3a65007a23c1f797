"""How words are paired when prompts are changed."""

import torch

from kdst_edit.models.layouts import letter_tokenizer
from kdst_p2p import Options
from kdst_p2p.alignment import replace_mapper
from kdst_p2p.explain import no_effect
from kdst_p2p.settings import kind_of, settings_of


def test_auto_swaps_only_where_common_words_stay_in_place() -> None:
    assert kind_of("a red disc", "a blue disc", "auto") == "swap"
    assert kind_of("a red disc, drawn", "a Blue disc drawn", "auto") == "swap"
    assert kind_of("a large red disc", "a red plain disc", "auto") == "refine"
    assert kind_of("a red disc", "a disc", "auto") == "refine"


def test_every_column_behind_a_shorter_word_takes_attention() -> None:
    mapper = replace_mapper("a squirrel x", "a cat x", letter_tokenizer(), 77, profile="corrected")
    assert torch.equal(mapper.sum(0)[5:], torch.ones(72))


def test_shares_and_options_without_a_step_are_named() -> None:
    def told(source: str = "a cat", **given: object) -> str:
        options = Options(**given)  # type: ignore[arg-type]
        settings = settings_of(source, ["a dog"], options)
        return " ".join(no_effect(source, settings, letter_tokenizer(), 5, options))

    assert told() == ""
    assert "--tau 0.01 has no effect" in told(tau=["0.01"])
    assert "--tau dog=0.9:1 has no effect" in told(tau=["0.8", "dog=.9:1"])
    assert told(tau=["0"], self_tau=0.0) == ""
    assert "--self-tau 0.1 has no effect" in told(self_tau=0.1)
    assert "--subtract has no effect" in told(blend=["none"], subtract=["dog"])
    assert "no source prompt" in told(source="")
