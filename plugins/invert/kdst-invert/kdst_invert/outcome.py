"""What a run measured: metrics, artifacts, and lines for the terminal."""

import json
from collections.abc import Mapping
from typing import Any

from kdst_core.contracts import Embedder
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run
from kdst_invert import compare
from kdst_invert.attackers import open_text
from kdst_invert.embedders.precision import precision_of
from kdst_invert.lines import read_lines
from kdst_invert.load import Target
from kdst_invert.loop import Attacked
from kdst_invert.measures import lengths
from kdst_invert.measures.chance import above, by_chance
from kdst_invert.measures.confidence import FINDING
from kdst_invert.measures.scores import Scores, final_texts, score_file
from kdst_invert.texts import Originals

SHOWN = 12
"""Rows whose texts the report shows at each step."""


def scored(attacked: Attacked, originals: Originals | None) -> Scores:
    """Return measures by step of an attack."""
    return score_file(attacked.file, attacked.rows, attacked.state.steps, originals)


def metrics(attacked: Attacked, scores: Scores, originals: Originals | None) -> dict[str, float]:
    """Return the figures of the attack alone, with what of them is chance."""
    found = scores.metrics() | costs(attacked) | guesses(scores)
    return found if originals is None else found | chance(attacked, scores, originals)


def written(
    run: Run, main: str, attacked: Attacked, target: Target, scores: Scores
) -> dict[str, str]:
    """Write what the report and comparisons are made of; return names and paths of the artifacts."""
    files: dict[str, str | bytes] = {
        "scores.json": json.dumps(by_step(scores)),
        "examples.json": json.dumps(examples(attacked, target.originals)),
        compare.BY_TEXT: compare.pack(scores, target.vectors),
    }
    for name, content in files.items():
        write_atomically(run.artifacts / name, content)
    return {f"{main}.jsonl": f"artifacts/{main}.jsonl"} | {n: f"artifacts/{n}" for n in files}


def protocol(attacked: Attacked, target: Target, embed: Embedder) -> dict[str, Any]:
    """Return everything that decides what was measured."""
    import torch

    return {
        "embedder_name": embed.name,
        "dimension": embed.dimension,
        "normalised": embed.normalised,
        "embedder_precision": precision_of(embed),
        "rows": attacked.rows,
        "notes": target.notes,
        "texts_known": target.originals is not None,
        "training_texts": len(target.training),
        "longest": attacked.state.longest,
        "threads": torch.get_num_threads(),
    }


def too_long(attacked: Attacked, originals: Originals | None, embed: Embedder) -> list[str]:
    """Return a warning where originals are longer than what is written or read."""
    if originals is None:
        return []
    state = attacked.state
    return lengths.too_long(originals.texts, state.longest, state.tokeniser, embed)


def chance(attacked: Attacked, scores: Scores, originals: Originals) -> dict[str, float]:
    """F1 and names by chance, and what was read above that, with intervals."""
    import numpy as np

    shared = by_chance(final_texts(attacked.file, attacked.rows), originals)
    last = {name: values[:, -1] for name, values in scores.values.items()}
    found: dict[str, float] = {}
    for name, gain in above(last, shared).items():
        found[f"chance.{name}"] = float(np.nanmean(shared[name]))
        found[f"above_chance.{name}"] = gain.value
        found |= {f"above_chance.{name}.low": gain.low, f"above_chance.{name}.high": gain.high}
    return found


def costs(attacked: Attacked) -> dict[str, float]:
    """What the attack took."""
    return {
        "texts": attacked.rows,
        "embedder_calls_per_text": attacked.calls_per_text,
        "texts_per_second": attacked.texts_per_second,
    }


def by_step(scores: Scores) -> dict[str, Any]:
    """Every measure after every step with its interval, and how the rows' cosines lie."""
    import numpy as np

    steps = range(scores.steps + 1)
    table = {}
    for name in scores.values:
        found = [scores.at(name, step) for step in steps]
        if found[0].count:
            table[name] = [[i.value, i.low, i.high] for i in found]
    cosine = scores.values["cosine"]
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    asked = steps if "cosine" in table else ()
    quantiles = [np.quantile(cosine[:, s], shares).tolist() for s in asked]
    return {"measures": table, "cosine_quantiles": quantiles, "rows": len(cosine)}


def guesses(scores: Scores) -> dict[str, float]:
    """The share of texts that are no findings, the cosine unknown or too low."""
    last = scores.values["cosine"][:, -1]
    return {"guesses": float((~(last >= FINDING)).mean())}


def examples(attacked: Attacked, originals: Originals | None) -> list[dict[str, Any]]:
    """The first rows: original where known, and the text after each step that changed it."""
    rows: dict[int, list[dict[str, Any]]] = {}
    known = None if originals is None else originals.opened()
    for line in read_lines(attacked.file):
        if line["row"] < SHOWN:
            rows.setdefault(line["row"], []).append(line)
    found = []
    for row, lines in sorted(rows.items()):
        changed = [
            line for n, line in enumerate(lines) if n == 0 or line["text"] != lines[n - 1]["text"]
        ]
        kept = {
            "row": row,
            "steps": [[line["step"], line["text"], line["cosine"]] for line in changed],
            "original": None if known is None else known.texts[row],
            "fields": {} if known is None else dict(known.fields_of(row)),
        }
        found.append(kept)
    return found


def lines(metrics: Mapping[str, float], known: bool) -> list[str]:
    """What the terminal says of a run."""
    speed = (
        f"{metrics['texts']:.0f} texts, {metrics['embedder_calls_per_text']:.1f} embedder calls a"
        f" text, {metrics['texts_per_second']:.2f} texts a second"
    )
    doubted = [*_guessed(metrics), *open_text.sentence(metrics)]
    if not known:
        return [_cosine(metrics), *doubted, speed]
    steps = [m for m in metrics if m.startswith("exact.step")]
    course = " ".join(f"{metrics[f'exact.step{n}']:.3f}" for n in range(min(len(steps), 4)))
    found = [
        f"exact {_shown(metrics, 'exact.final')}, by step {course}",
        f"token F1 {metrics['token_f1.final']:.3f}, BLEU {metrics['bleu.final']:.3f}, "
        + _cosine(metrics),
    ]
    if "names.final" in metrics:
        found.append(f"full names {_shown(metrics, 'names.final')}")
    for prefix, label in (
        ("greedy", "greedy search"),
        ("nearest", "nearest training text"),
        ("shuffled", "shuffled embeddings"),
    ):
        if f"{prefix}.exact" in metrics:
            found.append(
                f"{label}: exact {metrics[f'{prefix}.exact']:.3f},"
                f" token F1 {metrics[f'{prefix}.token_f1']:.3f}"
                + (
                    f", names {metrics[f'{prefix}.names']:.3f}"
                    if f"{prefix}.names" in metrics
                    else ""
                )
            )
    if "ridge.token_f1" in metrics:
        found.append(
            f"without a network: ridge regression to words, token F1 {metrics['ridge.token_f1']:.3f};"
            f" who knows the sentences of the notes and searches their slots, exact"
            f" {metrics['slots.exact']:.3f} of {metrics['slots.texts']:.0f}"
        )
    if "chance.token_f1" in metrics:
        found.append(
            f"texts of other rows share token F1 {metrics['chance.token_f1']:.3f} by chance;"
            f" {metrics['above_chance.token_f1']:.3f} above it"
        )
    return [*found, *doubted, speed]


def _guessed(metrics: Mapping[str, float]) -> list[str]:
    """How many texts are guesses, where any are."""
    count = round(metrics["guesses"] * metrics["texts"])
    if not count:
        return []
    return [
        f"{count} of {metrics['texts']:.0f} texts are guesses, not findings (cosine below {FINDING})"
    ]


def _cosine(metrics: Mapping[str, float]) -> str:
    """The cosine, or that nobody asked for it."""
    if "cosine.final" not in metrics:
        return "cosine unknown, since the embedder was not asked"
    return f"cosine {metrics['cosine.final']:.4f}"


def _shown(metrics: Mapping[str, float], name: str) -> str:
    """A metric with its interval."""
    return f"{metrics[name]:.3f} ({metrics[name + '.low']:.3f} to {metrics[name + '.high']:.3f})"
