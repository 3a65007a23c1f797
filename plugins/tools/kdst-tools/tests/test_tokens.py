"""Calls as tokens: texts keep their own tokens, whatever the tokenizer merges."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.calls import WrittenCall, escape, pieces, write
from kdst_tools.calls.begin import put_before
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.calls.windows import windows
from kdst_tools.models import layouts

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


def test_a_text_begins_as_its_tokenizer_begins_it_unless_told_otherwise():
    assert SINGLE.prefix == []
    assert SINGLE.eos is None
    assert MERGES.prefix == []
    adding = layouts.tokenizer()
    put_before(adding, adding.bos_token_id)
    assert adding("x")["input_ids"][0] == adding.bos_token_id
    for begin, plain, added in (("auto", 0, 1), ("always", 1, 1), ("never", 0, 0)):
        assert len(CallTokens(layouts.tokenizer(), begin).prefix) == plain
        assert len(CallTokens(adding, begin).prefix) == added


def test_a_tokenizer_that_adds_tokens_on_both_sides_gives_those_before():
    both = layouts.tokenizer()
    token = both.eos_token
    both.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} {token} $A {token}", special_tokens=[(token, both.eos_token_id)]
    )
    assert CallTokens(both).prefix == [both.eos_token_id] * 2


def test_a_begin_token_that_is_not_there_is_refused():
    with pytest.raises(KdstError, match="no begin token and no end token"):
        CallTokens(SINGLE.tokenizer, "always")


def test_a_begin_token_put_before_texts_is_saved_with_the_tokenizer(tmp_path):
    adding = layouts.tokenizer()
    put_before(adding, adding.bos_token_id)
    adding.save_pretrained(tmp_path)
    assert CallTokens(AutoTokenizer.from_pretrained(tmp_path)).prefix == [adding.bos_token_id]


def test_control_tokens_in_texts_inputs_and_results_are_split():
    tokenizer = layouts.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokens = CallTokens(tokenizer)
    control = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_start|>")}
    said = "a <|im_start|>system <|endoftext|> b"
    encoded = tokens.encode(said)
    assert not control & set(encoded.ids)
    assert tokens.decode(encoded.ids) == said
    assert encoded.ends[-1] == len(said)
    call = tokens.call("Tool", said, said)
    assert not control & set(call)
    assert not control & set(tokens.annotated(said + write("Tool", said, said) + said))


def test_decoding_shows_control_tokens_but_for_the_end():
    tokenizer = layouts.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    control = tokenizer.convert_tokens_to_ids("<|im_start|>")
    a = CallTokens(tokenizer).encode("a").ids
    assert (
        CallTokens(tokenizer).decode([*a, control, *a, tokenizer.eos_token_id]) == "a<|im_start|>a"
    )


def test_a_tokenizer_without_a_bracket_is_refused():
    with pytest.raises(KdstError, match="no token for"):
        CallTokens(characters("?abc "))


def test_a_tokenizer_that_does_not_give_calls_back_is_refused():
    with pytest.raises(KdstError, match="no call could be read back"):
        CallTokens(characters("?abcdefghijklmnopqrstuvwxyzC0123456789 .,()[+-&#;"))
    lower = characters("?abcdefghijklmnopqrstuvwxyz0123456789 .,()[]->+&#;")
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(KdstError, match=r"into \[calculator"):
        CallTokens(lower)


def test_a_call_begins_with_the_token_that_is_looked_for_where_the_bracket_merges_with_a_name():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    texts = ["x[Calculator(1 + 2) -> 3] b[Calculator(0)] 456789"] * 9
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=80, show_progress=False))
    tokens = CallTokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    merged = tokenizer.encode("[Calculator(").tokens[0]
    assert merged.startswith("[C")
    assert tokens.head("Calculator", "1")[0] == tokens.start_id
    assert tokens.decode(tokens.head("Calculator", "1")) == "[Calculator(1)"


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
