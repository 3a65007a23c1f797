"""Texts with their calls as marked text: which were kept, which not, and what they gained."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdst_core.reports.blocks import Span
from kdst_tools.calls import escape, pieces, unescape, write
from kdst_tools.calls.visible import visible

KEPT, REJECTED, WRONG = 3, 0, 5
"""Colours of calls that were kept or made, of calls that were not kept, of wrong answers."""
KEY = (
    Span("a call that was kept, and its gain in nats", KEPT),
    Span("a call that was not", REJECTED, 0.7),
)
ANSWER_KEY = (Span("answered right", KEPT), Span("answered wrong", WRONG))
SHOWN = 12
"""Texts, and problems, that a report shows."""
REJECTED_SHOWN = 2
"""Calls of a text that were not kept and are shown, those with the highest gain."""


def texts(rows: Iterable[Mapping[str, Any]]) -> list[list[Span]]:
    """Return texts with calls, at first those with kept calls of every tool in turn."""
    by_tool: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        kept = [call for call in row["calls"] if call["kept"]]
        scored = kept or [call for call in row["calls"] if call["gain"] is not None]
        if scored:
            group = scored[0]["tool"] if kept else ""
            chosen = by_tool.setdefault(group, [])
            if len(chosen) < SHOWN:
                chosen.append(row)
    groups = [by_tool[tool] for tool in sorted(by_tool, key=lambda tool: (tool == "", tool))]
    turns = [group[i] for i in range(SHOWN) for group in groups if i < len(group)]
    return [text(row) for row in turns[:SHOWN]]


def _plain(escaped: str) -> str:
    """Return the plain text of an escaped one, as a page may show it."""
    return visible(unescape(escaped))


def text(row: Mapping[str, Any]) -> list[Span]:
    """Return one annotated document: plain text with calls between its characters."""
    kept = [call for call in row["calls"] if call["kept"]]
    others = [call for call in row["calls"] if not call["kept"] and call["gain"] is not None]
    others.sort(key=lambda call: -call["gain"])
    plain, spans, done = escape(row["text"]), [], 0
    for call in sorted([*kept, *others[:REJECTED_SHOWN]], key=lambda call: call["offset"]):
        if call["offset"] > done:
            spans.append(Span(_plain(plain[done : call["offset"]])))
            done = call["offset"]
        spans.append(_call(call))
    return [*spans, Span(_plain(plain[done:]))]


def _call(call: Mapping[str, Any]) -> Span:
    """Return a call with its gain."""
    said = write(call["tool"], call["input"], call["result"])
    losses = ", ".join(
        f"{name} {call[key]:.2f}"
        for name, key in (("nothing", "L_empty"), ("call alone", "L_call"), ("in full", "L_full"))
        if call[key] is not None
    )
    title = f"losses: {losses}; p {call['p']:.2f}"
    if call["kept"]:
        return Span(f"{_plain(said)} {call['gain']:+.2f}", KEPT, 1.0, title)
    return Span(_plain(said), REJECTED, 0.7, f"{call['reason']}; {title}")


def answers(evaluation: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[Span]]:
    """Return problems as the finetuned model continued them, right and wrong ones in turn."""
    rows = [row for row in evaluation["problems"] if "after" in row]
    right = [row for row in rows if row["after"]["right"]]
    wrong = [row for row in rows if not row["after"]["right"]]
    few = min(len(wrong), SHOWN // 3)
    chosen = right[: SHOWN - few] + wrong[:few]
    return [_answer(row) for row in chosen]


def _answer(row: Mapping[str, Any]) -> list[Span]:
    said = row["after"]
    series = KEPT if said["right"] else WRONG
    title = "right" if said["right"] else f"wrong: the answer is {row['answer']}"
    return [Span(row["prompt"]), Span(_plain(said["annotated"]), series, 1.0, title)]


def continuation(said: Mapping[str, Any]) -> list[Span]:
    """Return a prompt and what a model wrote after it, calls marked."""
    spans = [Span(said["prompt"])]
    for piece in pieces(said["annotated"]):
        if isinstance(piece, str):
            spans.append(Span(_plain(piece)))
        else:
            spans.append(Span(_plain(write(piece.tool, piece.input, piece.result)), KEPT))
    return spans
