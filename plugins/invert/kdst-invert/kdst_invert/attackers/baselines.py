"""What chance, memory, a narrow search and attackers without a network give, beside an inversion."""

import json
from collections.abc import Callable
from typing import Any

from kdst_core.contracts import Embedder
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run
from kdst_invert.embedders.batches import embedded
from kdst_invert.load import Target
from kdst_invert.loop import Attacked, Attacker
from kdst_invert.measures.recovery import NAME
from kdst_invert.measures.scores import HEADLINE, Scores, final_texts, score_file, score_texts
from kdst_invert.measures.units import units
from kdst_invert.options import with_options
from kdst_invert.texts import Originals

GREEDY_STEPS = 5
"""Corrections at most of the greedy search that the beam is compared with."""


def without_corrections(
    attacked: Attacked, target: Target, seen: list[str], embed: Embedder, run: Run
) -> dict[str, float]:
    """Return what texts of other rows, the texts that the inverter has seen and, of the embedded notes,
    attackers without a network give."""
    assert target.originals is not None
    found = shuffled(attacked, target.originals)
    if seen:
        found |= nearest(target, seen, embed, run)
    if target.notes:
        found |= without_network(target, embed, run)
    return found


def greedy(attacker: Attacker, target: Target, options: Any, model: str | None) -> dict[str, float]:
    """Return what a search without a beam gives, where the method has one; model: the inverter of a fit."""
    if getattr(options, "beam", 1) <= 1:
        return {}
    narrow = with_options(
        options,
        beam=1,
        steps=min(options.steps, GREEDY_STEPS),
        model=model or options.model,
    )
    attacked = attacker.invert("greedy", target.vectors, narrow, "greedy, to compare", light=True)
    scores = score_file(attacked.file, attacked.rows, attacked.state.steps, target.originals)
    calls = {"greedy.embedder_calls_per_text": attacked.calls_per_text}
    return finals(scores, "greedy.") | calls


def finals(scores: Scores, prefix: str) -> dict[str, float]:
    """The headline measures at the end, with intervals."""
    found: dict[str, float] = {}
    for name in scores.values:
        last = scores.at(name)
        if name in HEADLINE and last.count:
            found[f"{prefix}{name}"] = last.value
            found |= {f"{prefix}{name}.low": last.low, f"{prefix}{name}.high": last.high}
    return found


def shuffled(attacked: Attacked, originals: Originals) -> dict[str, float]:
    """Every row's text against the original of the row after it.

    The same as inverting embeddings in another order than the texts, since what a method returns for
    a row depends on that row alone.
    """
    if attacked.rows < 2:
        return {}
    texts = final_texts(attacked.file, attacked.rows)
    return finals(score_texts(texts[-1:] + texts[:-1], originals), "shuffled.")


LEARNED_FROM, SEARCHED = 1000, 10
"""Notes that the attackers without a network learn words from, and notes whose slots are searched."""


def without_network(target: Target, embed: Embedder, run: Run) -> dict[str, float]:
    """Attackers of the embedded notes who train no network, kept once they are done: ridge regression to
    words without order, and a search of the slots of the notes' sentences, which are known to him."""
    from kdst_invert.default.notes import notes

    assert target.originals is not None
    file = run.artifacts / "without-network.json"
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
    else:
        texts = [n.text for n in notes("train", LEARNED_FROM)]
        with run.progress(2, "attackers without a network") as advance:
            kept = _carried_out(texts, target, embed, lambda: advance(1))
        write_atomically(file, json.dumps(kept))
    bags, read, calls = kept["bags"], kept["slots"], kept["calls"]
    found = finals(_of_bags(bags, target.originals), "ridge.")
    searched = target.originals.cut(range(len(read)))
    found |= finals(score_texts(read, searched), "slots.")
    return found | {"slots.texts": len(read), "slots.embedder_calls_per_text": calls / len(read)}


def _carried_out(
    texts: list[str], target: Target, embed: Embedder, advance: Callable[[], None]
) -> dict[str, Any]:
    """What both attackers find."""
    from kdst_invert.attackers.bag import learn_bag
    from kdst_invert.attackers.slots import search_slots

    bag = learn_bag(texts, embedded(embed, texts))
    bags = bag.read(target.vectors)
    advance()
    read = search_slots(target.vectors[:SEARCHED], bag, embed)
    advance()
    return {
        "bags": bags,
        "slots": [one.text for one in read],
        "calls": sum(one.calls for one in read),
    }


def _of_bags(bags: list[list[str]], originals: Originals) -> Scores:
    """Scores of words without order: F1, and names all of whose words are there."""
    import numpy as np

    scores = score_texts([" ".join(bag) for bag in bags], originals)
    kept = {n: v for n, v in scores.values.items() if n in ("token_f1", "unit_f1")}
    names = [originals.fields_of(row).get(NAME) for row in range(len(bags))]
    there = [
        np.nan if name is None else float(set(units(name)) <= set(bag))
        for name, bag in zip(names, bags, strict=True)
    ]
    return Scores({**kept, "names": np.array(there, dtype=np.float32)[:, None]}, 0)


def nearest(target: Target, training: list[str], embed: Embedder, run: Run) -> dict[str, float]:
    """The nearest training text in place of the inversion, kept once it is found."""
    import numpy as np

    from kdst_invert.default.training import nearest as find

    assert target.originals is not None
    file = run.artifacts / "nearest.json"
    if file.exists():
        texts, cosines = json.loads(file.read_text(encoding="utf-8"))
    else:
        with run.progress(len(target.vectors), "nearest training texts") as advance:
            texts, found = find(target.originals.texts, target.vectors, training, embed)
            cosines = found.tolist()
            advance(len(texts))
        write_atomically(file, json.dumps([texts, cosines]))
    scores = score_texts(texts, target.originals)
    values = {**scores.values, "cosine": np.array(cosines, dtype=np.float32)[:, None]}
    return finals(Scores(values, 0), "nearest.")
