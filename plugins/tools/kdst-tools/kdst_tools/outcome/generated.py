"""A generation as plain values: for artifacts, and to be judged."""

from typing import Any

import attrs
from attrs import evolve

from kdst_core.contracts import Generation


def shown(found: Generation) -> dict[str, Any]:
    """Return prompt, text, text with calls, and the calls."""
    return {
        "prompt": found.prompt.text,
        "text": found.text,
        "annotated": found.annotated,
        "calls": [attrs.asdict(call) for call in found.calls],
        "tokens": found.tokens,
    }


def plain_texts(output: Generation) -> Generation:
    """Return a generation whose texts are plain, so that no code of the method runs beside answers."""
    text, annotated = str.__str__(output.text), str.__str__(output.annotated)
    return evolve(output, text=text, annotated=annotated, tokens=int(output.tokens))
