"""What a model reads before a text: the tokens that its tokenizer puts there, if it puts any."""

from typing import Any, Literal

from kdst_core.errors import KdstError

Begin = Literal["auto", "always", "never"]


def begin_tokens(tokenizer: Any, wanted: Begin, sample: str = "a") -> list[int]:
    """Return the tokens before a text.

    auto: those that the tokenizer itself puts before `sample`. always: its begin token, or its end
    token where it has no other, also where it puts none. never: none. KdstError for `always` where
    there is no such token.
    """
    if wanted == "never":
        return []
    own = _own(tokenizer, sample)
    if wanted == "auto" or own:
        return own
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    found = next((token for token in known if token is not None), None)
    if found is None:
        raise KdstError(
            "--begin-token always: this tokenizer has no begin token and no end token.\n"
            "Leave it at auto, or give --begin-token never"
        )
    return [found]


def _own(tokenizer: Any, sample: str) -> list[int]:
    """What the tokenizer puts before a text by itself."""
    plain = _ids(tokenizer, sample, special=False)
    whole = _ids(tokenizer, sample, special=True)
    places = range(len(whole) - len(plain) + 1)
    first = next((i for i in places if whole[i : i + len(plain)] == plain), 0)
    return whole[:first]


def _ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    """The tokens of a text with or without those that the tokenizer adds."""
    found = tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    return list(found)


def put_before(tokenizer: Any, token: int) -> None:
    """Let a fast tokenizer put a token before every text from now on, also once it is saved."""
    from tokenizers.processors import TemplateProcessing

    name = tokenizer.convert_ids_to_tokens(token)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{name} $A", pair=f"{name} $A {name} $B", special_tokens=[(name, token)]
    )
