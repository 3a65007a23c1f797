"""Models of transformers from a directory, as tools use them: text in, text out, nothing fetched."""

import threading
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError, first_line
from kdst_tools.audit import require_whole

MAX_INPUT = 512
"""Tokens of an input; what is longer is cut at its end."""
MAX_ANSWER = 64
"""Tokens of an answer."""


def architecture(path: Path) -> str:
    """Return the class that a directory's model was saved by; KdstError where there is no model."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:  # what transformers raises of damaged files is open
        reason = first_line(error)
        raise KdstError(f"{path} holds no model of transformers: {reason}") from error
    return (config.architectures or [""])[0]


def load(path: Path, auto: str) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a directory; weights only from safetensors.

    auto: name of the automatic class of transformers. KdstError where they cannot be loaded.
    """
    import transformers

    try:
        model, told = getattr(transformers, auto).from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # as above; safetensors has an error of its own
        reason = first_line(error)
        raise KdstError(f"{path} cannot be loaded as {auto}: {reason}") from error
    require_whole(told, str(path))
    return model.eval(), tokenizer


class Seq2Seq:
    """A sequence-to-sequence model with greedy decoding; one call at a time."""

    def __init__(self, path: Path, target: str | None = None) -> None:
        self.model, self.tokenizer = load(path, "AutoModelForSeq2SeqLM")
        self.lock = threading.Lock()
        self.first = self._token_of(target) if target else None

    def _token_of(self, language: str) -> int:
        known = self.tokenizer.get_vocab()
        if language not in known:
            raise KdstError(f"this model has no token {language!r} for a target language")
        return int(known[language])

    def __call__(self, text: str) -> str:
        """Return what the model makes of a text; ValueError where that is nothing."""
        import torch

        ids = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_INPUT)
        forced = {} if self.first is None else {"forced_bos_token_id": self.first}
        with self.lock, torch.inference_mode():
            made = self.model.generate(
                input_ids=ids.input_ids, attention_mask=ids.attention_mask, do_sample=False,
                num_beams=1, max_new_tokens=MAX_ANSWER, **forced,
            )  # fmt: skip
        return _something(str(self.tokenizer.decode(made[0], skip_special_tokens=True)))


class Extractive:
    """A model that marks the answer to a question in a text (start and end logits)."""

    def __init__(self, path: Path) -> None:
        self.model, self.tokenizer = load(path, "AutoModelForQuestionAnswering")
        if not self.tokenizer.is_fast:
            raise KdstError(f"{path}: extractive answers need a fast tokenizer (tokenizer.json)")
        self.lock = threading.Lock()

    def __call__(self, question: str, text: str) -> str:
        """Return the likeliest piece of the text; ValueError where the text has no token."""
        import torch

        encoded = self.tokenizer(
            question, text, return_tensors="pt", truncation="only_second", max_length=self._room(),
            return_offsets_mapping=True,
        )  # fmt: skip
        offsets = encoded.pop("offset_mapping")[0].tolist()
        inside = torch.tensor([part == 1 for part in encoded.sequence_ids(0)])
        if not inside.any():
            raise ValueError("there is no text to find the answer in")
        with self.lock, torch.inference_mode():
            found = self.model(**encoded)
        first, last = _best_span(found.start_logits[0], found.end_logits[0], inside)
        return _something(text[offsets[first][0] : offsets[last][1]])

    def _room(self) -> int:
        positions = getattr(self.model.config, "max_position_embeddings", MAX_INPUT)
        return int(min(positions, MAX_INPUT))


def _best_span(start: Any, end: Any, inside: Any) -> tuple[int, int]:
    """Return the first and last token (T,) of the likeliest span of at most MAX_ANSWER tokens."""
    import torch

    outside = torch.where(inside, 0.0, -torch.inf)
    sums = (start + outside)[:, None] + (end + outside)[None, :]
    allowed = torch.ones_like(sums).triu().tril(MAX_ANSWER - 1).bool()
    best = int(sums.masked_fill(~allowed, -torch.inf).argmax())
    return best // len(start), best % len(start)


def _something(text: str) -> str:
    if not text.strip():
        raise ValueError("the model answered nothing")
    return text.strip()
