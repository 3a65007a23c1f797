"""An attacker of rounded vectors who knows pairs alone: he reads, then rewrites word by word what he read.

Places and words are those of the texts that he knows and of first readings of the store; guesses are judged
by how likely they make the cells of the stored vector.
"""

import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve

from kdst_core.files import write_atomically
from kdst_invert.attackers.cells import likelihood
from kdst_invert.attackers.places import learn_places
from kdst_invert.attackers.rewriting import Vocabulary, measured, rewrite
from kdst_invert.defences.defence import unit
from kdst_invert.defences.lossy import Rounding
from kdst_invert.embedders.batches import embedded
from kdst_invert.measures.scores import final_texts
from kdst_invert.options import with_options
from kdst_invert.studies.adaptive import Known, Undoing, protected
from kdst_invert.studies.grammar import figures, kind_of
from kdst_invert.studies.stage import BLURRED

if TYPE_CHECKING:
    from torch import Tensor

    from kdst_invert.defences.defence import Defence
    from kdst_invert.studies.stage import Stage

NAME = "rewriting"
PAIRS, FEWEST = 190, 50
"""Pairs that he knows at most, and at least."""
SEARCHED = 16
"""Texts that are rewritten; it takes some hundred embedder calls each."""
BLOCK = 4
"""Texts that are rewritten side by side, and kept."""
READ = 500
"""Rows of the store that he reads for their words."""
BEAM, STEPS = 2, 2


def attack(stage: "Stage", defences: "Sequence[Defence]", known: Known) -> None:
    """Add what this attacker reads under every rounding that leaves much open to the rows of the study."""
    few = evolve(known, pairs=known.pairs[:PAIRS], own=known.own[:0])
    rounded = [defence for defence in defences if isinstance(defence, Rounding)]
    if len(few.pairs) < FEWEST:
        return
    with stage.run.progress(len(rounded), "attacker who rewrites") as advance:
        for defence in rounded:
            undoing = stage.undo(defence, few)
            if undoing is not None and undoing.left > BLURRED:
                found = searched(stage, defence, undoing, len(few.pairs))
                shown = stage.originals.cut(range(len(found["texts"])))
                row = kind_of(stage, defence) | {"pairs": len(few.pairs)}
                stage.rows.append(row | figures(found, shown, NAME))
            advance(1)


def searched(stage: "Stage", defence: Rounding, undoing: Undoing, pairs: int) -> dict[str, Any]:
    """Texts, cosines and embedder calls of the search; what is done is kept block after block."""
    name = f"{NAME}-{stage.file(defence)}"
    file = stage.run.artifacts / f"{name}.json"
    found: dict[str, Any] = {"texts": [], "cosines": [], "calls": 0}
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
    wanted = min(SEARCHED, stage.attacked)
    if len(found["texts"]) == wanted:
        return found
    vocabulary = _vocabulary(stage, name, defence, undoing, pairs)
    found["calls"] = found["calls"] or vocabulary.calls
    start = _first(stage, f"{name}-start", stage.seen(defence, undoing), undoing)
    for first in range(len(found["texts"]), wanted, BLOCK):
        rows = range(first, min(first + BLOCK, wanted))
        for key, new in _block(stage, defence, start, vocabulary, rows).items():
            found[key] += new
        write_atomically(file, json.dumps(found))
    return found


def _vocabulary(
    stage: "Stage", name: str, defence: Rounding, undoing: Undoing, pairs: int
) -> Vocabulary:
    """Places and words of the known texts and of first readings of the store."""
    filled = undoing.fill(_stored(stage, defence, stage.vectors[:READ]))
    seen = unit(filled) if stage.subject.embed.normalised else filled
    readings = stage.read(f"{name}-store", seen, 0, undoing.left)
    texts = stage.originals.texts[stage.attacked : stage.attacked + pairs]
    return measured(learn_places(texts, readings), stage.subject.embed)


def _block(
    stage: "Stage", defence: Rounding, start: Sequence[str], vocabulary: Vocabulary, rows: range
) -> dict[str, Any]:
    """What is added by some rows: texts, cosines to what is stored, and embedder calls."""
    stored = _stored(stage, defence, stage.vectors[rows.start : rows.stop])
    likely = [functools.partial(likelihood, row, defence.bits) for row in stored]
    read = rewrite(start[rows.start : rows.stop], likely, vocabulary, stage.subject.embed)
    texts = [one.text for one in read]
    again = _stored(stage, defence, embedded(stage.subject.embed, texts))
    cosines = torch.cosine_similarity(again, stored).tolist()
    return {"texts": texts, "cosines": cosines, "calls": sum(one.calls for one in read)}


def _stored(stage: "Stage", defence: Rounding, e: "Tensor") -> "Tensor":
    """Vectors as the store keeps them."""
    return protected(defence, e, stage.noise(), stage.subject.embed.normalised)


def _first(stage: "Stage", name: str, seen: "Tensor", undoing: Undoing) -> list[str]:
    """What is read of the first attacked rows before it is rewritten."""
    options = with_options(stage.reader(undoing.left), beam=BEAM, steps=STEPS)
    found = stage.attacker.invert(name, seen[:SEARCHED], options, name, view=undoing.view)
    return final_texts(found.file, found.rows)
