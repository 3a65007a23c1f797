"""Recovered texts with each token coloured by whether the original has it there."""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher

from kdst_core.reports.blocks import Span
from kdst_invert.measures.units import pieces

RIGHT, WRONG, NAMED = 3, 5, 1
"""Series of tokens that are right, that are wrong, and of named fields in the original."""
KEY = (
    Span("as in the original", RIGHT, 0.7),
    Span("not in the original here", WRONG, 1.0),
    Span("named field of the original", NAMED, 0.7),
)


def marked(head: str, text: str, original: str | None, fields: Mapping[str, str]) -> list[Span]:
    """A text behind a heading: coloured against the original, or as the original itself."""
    spans = [Span(head)]
    if original is not None:
        return spans + compared(text, original)
    return spans + named(text, fields)


def compared(text: str, original: str) -> list[Span]:
    """Pieces of a text, right where they stand in a longest alignment with the original."""
    found, wanted = pieces(text), pieces(original)
    left, right = [p.strip() for p in found], [p.strip() for p in wanted]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    same = {
        i for block in matcher.get_matching_blocks() for i in range(block.a, block.a + block.size)
    }
    return joined([(piece, RIGHT if i in same else WRONG) for i, piece in enumerate(found)])


def named(text: str, fields: Mapping[str, str]) -> list[Span]:
    """The original with its named fields coloured."""
    values = sorted((v for v in fields.values() if v), key=len, reverse=True)
    if not values:
        return [Span(text)]
    parts = re.split("(" + "|".join(rf"\b{re.escape(v)}\b" for v in values) + ")", text)
    titles = {value: name for name, value in fields.items()}
    return [
        Span(part, NAMED, 0.7, titles[part]) if part in titles else Span(part)
        for part in parts
        if part
    ]


def joined(coloured: list[tuple[str, int]]) -> list[Span]:
    """Neighbouring pieces of one colour as one span; space between spans stays plain."""
    spans: list[Span] = []
    run, colour = "", None
    for piece, series in [*coloured, ("", -1)]:
        if series != colour and run:
            text = run.rstrip()
            spans.append(Span(text, colour, 0.7 if colour == RIGHT else 1.0))
            if len(text) < len(run):
                spans.append(Span(" "))
            run = ""
        run, colour = run + piece, series
    return spans
