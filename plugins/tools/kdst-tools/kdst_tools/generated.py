"""A generation as plain values, for artifacts."""

from typing import Any

import attrs

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
