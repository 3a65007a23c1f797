"""An attacker of protected notes who knows their sentences: he searches what may fill the slots, and
compares his guesses after the same defence where that has neither chance nor secret."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run
from kdst_invert.attackers.bag import learn_bag
from kdst_invert.attackers.slots import search_slots
from kdst_invert.default.notes import notes
from kdst_invert.embedders.wrapped import Wrapped
from kdst_invert.measures.chance import above, by_chance
from kdst_invert.measures.recovery import mean
from kdst_invert.measures.scores import HEADLINE, Scores, score_texts
from kdst_invert.studies.adaptive import COMPARED, SECRET, Known, protected
from kdst_invert.studies.common import three
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdst_invert.defences.defence import Defence
    from kdst_invert.studies.stage import Stage

NAME = "grammar"
SEARCHED = 6
"""Notes that are searched under each defence; it takes many embedder calls."""
LEARNED_FROM = 1000


def attack(stage: "Stage", defences: "Sequence[Defence]", known: Known) -> None:
    """Add what this attacker reads under every defence to the rows of the study."""
    texts = [n.text for n in notes("train", min(len(known.own), LEARNED_FROM))]
    with stage.run.progress(len(defences), "attacker who knows the sentences") as advance:
        for defence in defences:
            task = _task(stage, defence, known, texts)
            if task is not None:
                found = searched(task, stage.subject.embed, stage.run)
                shown = stage.originals.cut(range(len(found["texts"])))
                stage.rows.append(kind_of(stage, defence) | figures(found, shown, NAME))
            advance(1)


def _task(
    stage: "Stage", defence: "Defence", known: Known, texts: "Sequence[str]"
) -> "Task | None":
    """What is searched under a defence; None of a secret one of which nothing is known."""
    count = min(SEARCHED, stage.attacked)
    normalised, own = stage.subject.embed.normalised, known.own[: len(texts)]
    if defence.name == SECRET:
        undoing = stage.undo(defence, known)
        if undoing is None:
            return None
        return Task(stage.file(defence), stage.seen(defence, undoing)[:count], texts, own, None)

    def view(e: Tensor) -> Tensor:
        return protected(defence, e, stage.noise(), normalised)

    seen, compared = stage.seen(defence, None)[:count], defence.name in COMPARED
    return Task(stage.file(defence), seen, texts, view(own), view if compared else None)


def kind_of(stage: "Stage", defence: "Defence") -> dict[str, Any]:
    """What a row says of a defence whoever attacks it; what the search keeps is known from the first."""
    kind = (defence.name, defence.strength)
    first = next(r for r in stage.rows if (r["defence"], r["strength"]) == kind)
    return {n: first[n] for n in ("defence", "strength", "scale", "retrieval")}


@frozen
class Viewed(Wrapped):
    """An embedder whose vectors go through a defence."""

    view: Callable[[Tensor], Tensor]

    def __call__(self, texts: "Sequence[str]") -> Tensor:
        """Return (n, D), protected."""
        return self.view(self.inner(texts))


@frozen
class Task:
    """What is searched. seen: (n, D) as the attacker compares guesses with it. texts, own: his notes and
    their vectors as he sees them. view: what vectors of guesses go through, None for nothing."""

    name: str
    seen: Tensor
    texts: "Sequence[str]"
    own: Tensor
    view: Callable[[Tensor], Tensor] | None


def searched(task: Task, embed: Embedder, run: Run) -> dict[str, Any]:
    """Texts, cosines and embedder calls of a search, kept once it is done."""
    file = run.artifacts / f"{NAME}-{task.name}.json"
    if file.exists():
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return kept
    asked = embed if task.view is None else Viewed(embed, task.view)
    read = search_slots(task.seen, learn_bag(task.texts, task.own), asked)
    found = {
        "texts": [one.text for one in read],
        "cosines": [one.cosine for one in read],
        "calls": sum(one.calls for one in read),
    }
    write_atomically(file, json.dumps(found))
    return found


def figures(found: dict[str, Any], originals: Originals, attacker: str) -> dict[str, Any]:
    """Leakage, chance and costs of a search, as a row of the defence study has them."""
    texts = found["texts"]
    scores = score_texts(texts, originals)
    cosines = np.array(found["cosines"], dtype=np.float32)[:, None]
    scores = evolve(scores, values={"cosine": cosines, **scores.values})
    chance = by_chance(texts, originals)
    gains = above({n: v[:, -1] for n, v in scores.values.items()}, chance)
    return {
        "attacker": attacker,
        "attacked": len(texts),
        "leakage": _kept(scores),
        "chance": {n: mean(chance[n]) for n in gains},
        "above": {n: three(gain) for n, gain in gains.items()},
        "embedder_calls_per_text": found["calls"] / len(texts),
    }


def _kept(scores: Scores) -> dict[str, list[float]]:
    """The headline measures with their intervals."""
    return {n: three(scores.at(n)) for n in scores.values if n in HEADLINE}
