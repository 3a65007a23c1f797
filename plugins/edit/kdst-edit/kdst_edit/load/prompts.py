"""The prompts of a run: those that were given or the defaults, checked against the model's tokenizers."""

from collections.abc import Sequence
from typing import Any

from kdst_core.errors import KdstError
from kdst_edit.default import FOLDERS
from kdst_edit.families.conditioning import TokenRange
from kdst_edit.families.registry import family_of
from kdst_edit.inputs import DEFAULT_SOURCE, DEFAULT_TARGET, EditInputs
from kdst_edit.words import token_ids


def prompts(inputs: EditInputs, live_image: bool = False) -> tuple[str, tuple[str, ...]]:
    """The source prompt and the targets, with single spaces; KdstError when they are missing."""
    generated = inputs.image is None and not live_image
    source, target = inputs.source, inputs.target
    if source is None:
        if generated and inputs.model not in FOLDERS:
            raise KdstError("give --source: the prompt of the image to edit")
        source = DEFAULT_SOURCE if generated else ""
        target = DEFAULT_TARGET if target is None and generated else target
    if target is None and not source.split():
        raise KdstError("give --target: what the image should show")
    _check_text(source, target or "", inputs.negative_prompt)
    targets = [source] if target is None else target.split("|")
    if any(not text.split() for text in targets):
        raise KdstError(f"--target {target!r} holds an empty prompt; separate prompts by |")
    return " ".join(source.split()), tuple(" ".join(text.split()) for text in targets)


def _check_text(*prompts: str) -> None:
    """Raise KdstError for a prompt with bytes that are no text."""
    for prompt in prompts:
        try:
            prompt.encode()
        except UnicodeEncodeError as e:
            shown = prompt.encode(errors="replace").decode()[:60]
            raise KdstError(f"the prompt {shown!r} is not valid text (UTF-8)") from e


def check_prompts(pipeline: Any, prompts: Sequence[str]) -> None:
    """Raise KdstError for a prompt that is longer than the model's tokenizers allow.

    A learned word of several vectors becomes more words on the way to the text encoder, so that none of
    the tokens behind it is where the prompt has it; it is refused, too.
    """
    for name in ("", "_2", "_3"):
        tokenizer = getattr(pipeline, f"tokenizer{name}", None)
        encoder = getattr(pipeline, f"text_encoder{name}", None)
        if tokenizer is None or encoder is None:
            continue
        _check_tokenizer(tokenizer, encoder)
        for prompt in prompts:
            ids = token_ids(tokenizer, prompt)
            convert = getattr(pipeline, "maybe_convert_prompt", None)
            if convert is not None and convert(prompt, tokenizer) != prompt:
                raise KdstError(
                    f"the prompt {prompt[:60]!r} has a learned word of several vectors; edits need words"
                    " of one vector"
                )
            _check_known(encoder, ids, prompt)
    for part in family_of(pipeline).texts(pipeline):
        for prompt in prompts if part.tokenizer is not None else ():
            _check_room(part, prompt)


def _check_room(part: TokenRange, prompt: str) -> None:
    """Raise KdstError for a prompt that has more tokens than the text that attention sees."""
    count = len(token_ids(part.tokenizer, prompt))
    if count > part.length:
        raise KdstError(
            f"the prompt {prompt[:60]!r} has {count} tokens; this model takes at most {part.length}."
            " Shorten it"
        )


def _check_tokenizer(tokenizer: Any, encoder: Any) -> None:
    """Raise KdstError for a tokenizer that is longer than its text encoder."""
    room = getattr(encoder.config, "max_position_embeddings", tokenizer.model_max_length)
    if tokenizer.model_max_length > room:
        given = tokenizer.model_max_length
        raise KdstError(
            f"the model's tokenizer pads prompts to {given if given < 1e9 else 'any number of'} tokens,"
            f" its text encoder takes {room}: set model_max_length to {room} (in tokenizer_config.json)"
        )


def _check_known(encoder: Any, ids: Sequence[int], prompt: str) -> None:
    """Raise KdstError for a token that a text encoder has no embedding of."""
    known = encoder.get_input_embeddings().num_embeddings
    if max(ids) >= known:
        raise KdstError(
            f"the prompt {prompt[:60]!r} has a token that the model's text encoder does not know: it has"
            f" {known}, the tokenizer more. Resize its embeddings, or take tokenizer and encoder of one"
            " model"
        )
