"""A badge of how many claims hold: an SVG for a README."""

from collections.abc import Mapping
from html import escape

HEIGHT, LETTER, MARGIN = 20, 6.2, 8
"""Pixels: of the badge, of a letter on the average, beside a text."""
COLOURS = {"holds": "#2f7d4f", "fails": "#b3261e", "no result": "#8a5a00"}
"""Behind white text; each has a contrast of 4.5 or more to it, as `OTHERS` has."""
OTHERS = "#6b6b6a"
LABEL = "claims"


def badge(counts: Mapping[str, int]) -> str:
    """Return the badge of counts by verdict; verdicts that no claim has are left out."""
    cells = [(LABEL, "#3b3b3a")]
    cells += [(f"{n} {word}", COLOURS.get(word, OTHERS)) for word, n in counts.items() if n]
    parts, left = [], 0
    for text, colour in cells:
        width = round(2 * MARGIN + LETTER * len(text))
        parts.append(f'<rect x="{left}" width="{width}" height="{HEIGHT}" fill="{colour}"/>')
        parts.append(f'<text x="{left + width / 2:g}" y="14">{escape(text)}</text>')
        left += width
    said = escape(", ".join(text for text, _ in cells[1:]) or "none tried")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left}" height="{HEIGHT}" role="img"'
        f' aria-label="{LABEL}: {said}" fill="#fff" text-anchor="middle"'
        ' font-family="DejaVu Sans,Verdana,sans-serif" font-size="11">'
    )
    return "\n".join([head, f"<title>{LABEL}: {said}</title>", *parts, "</svg>"]) + "\n"
