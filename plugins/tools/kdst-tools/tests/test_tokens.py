"""Calls as tokens: texts keep their own tokens, whatever the tokenizer merges."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools import layouts
from kdst_tools.calls import WrittenCall, escape, pieces, write
from kdst_tools.tokens import CallTokens
from kdst_tools.windows import windows

MERGES = CallTokens(layouts.tokenizer())
"""A tokenizer with a token ` [`."""


def characters(letters: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters, without any special token."""
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(letters)}, letters[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


SINGLE = CallTokens(characters("?abcdefghijklmnopqrstuvwxyzCT0123456789 .,()[]->+&#;"))
"""A tokenizer in which `[` is a token and ` [` is two."""


def test_a_call_begins_with_the_merged_token_where_there_is_one():
    assert MERGES.start == " ["
    assert MERGES.tokenizer.decode([MERGES.start_id]) == " ["
    assert SINGLE.start == "["


def test_tokenizers_without_special_tokens_have_no_prefix():
    assert SINGLE.prefix == []
    assert SINGLE.eos is None
    assert len(MERGES.prefix) == 1


def test_a_tokenizer_without_a_bracket_is_refused():
    with pytest.raises(KdstError, match="no token for"):
        CallTokens(characters("?abc "))


@pytest.mark.parametrize("tokens", [MERGES, SINGLE])
def test_a_text_keeps_its_tokens_around_a_call(tokens):
    text = "out of 1400 people, 400 came."
    encoded = tokens.encode(text)
    index = next(i for i, o in enumerate(encoded.offsets) if text[o:].startswith(" 400"))
    offset = encoded.offsets[index]
    annotated = text[:offset] + write("Tool", "1 + 2", "3") + text[offset:]
    call = tokens.call("Tool", "1 + 2", "3")
    assert tokens.annotated(annotated) == encoded.ids[:index] + call + encoded.ids[index:]
    assert tokens.decode(call) == f"{tokens.start}Tool(1 + 2) -> 3]"


@given(st.text(max_size=30), st.data())
@settings(max_examples=50, deadline=None)
def test_any_text_with_a_call_at_any_character_is_read_back(text, data):
    escaped = escape(text)
    offset = data.draw(st.integers(0, len(escaped)))
    annotated = escaped[:offset] + write("Tool", "x", "y") + escaped[offset:]
    if WrittenCall("Tool", "x", "y") not in list(pieces(annotated)):
        return
    assert MERGES.decode(MERGES.annotated(annotated)) == annotated


@given(st.text(min_size=1, max_size=400), st.integers(24, 60))
@settings(max_examples=50, deadline=None)
def test_windows_cover_every_position_of_a_long_text_once(text, size):
    document = Document(text)
    encoded = MERGES.encode(escape(text))
    parts = list(windows(document, MERGES, size))
    found = [w.start + i for w in parts for i in w.positions]
    assert found == [i for i, offset in enumerate(encoded.offsets) if offset >= 0]
    for window in parts:
        assert len(window.ids) <= size
        assert window.ids == encoded.ids[window.start : window.start + len(window.ids)]
        last = window.start + len(window.ids) == len(encoded.ids)
        assert last or max(window.positions, default=0) + 5 < len(window.ids)


def test_texts_of_windows_make_up_the_document():
    text = " ".join(layouts.TEXTS)
    first, *_ = parts = list(windows(Document(text), MERGES, 40))
    assert text.startswith(first.text)
    assert text.endswith(parts[-1].text)
    assert all(w.text in text for w in parts)
