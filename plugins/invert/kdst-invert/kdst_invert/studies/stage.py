"""What every attack of the defence study shares: the store, who attacks it, and what was measured."""

import functools
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from kdst_core.runs.rundir import Run
from kdst_invert.defences.defence import Defence, unit
from kdst_invert.loop import Attacker
from kdst_invert.measures import retrieval
from kdst_invert.measures.scores import final_texts
from kdst_invert.options import with_options
from kdst_invert.studies import rotated
from kdst_invert.studies.adaptive import (
    COMPARED,
    SECRET,
    Known,
    Undoing,
    protected,
    without_map,
)
from kdst_invert.studies.common import FEW
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from kdst_invert.studies.target import StudyTarget

BLURRED = 0.02
"""Deviation a coordinate from which on an attacker trained with noise reads more than another: between
λ = .01, where he reads less, and .03, where he does not."""
JUDGING = 16
"""Known pairs at most that decide between a map and none; a quarter of all, and no fewer than four."""
FEWEST_JUDGING = 4


@frozen
class Stage:
    """What every attack of the study shares. trained: options with the networks trained with noise."""

    subject: "StudyTarget"
    attacker: Attacker
    run: Run
    originals: Originals
    queries: retrieval.Queries
    rows: list[dict[str, Any]] = field(factory=list)
    trained: Any = None

    @property
    def vectors(self) -> Tensor:
        """The store without a defence."""
        return self.subject.target.vectors

    @property
    def attacked(self) -> int:
        """Rows of the store that are attacked."""
        return min(self.subject.count or FEW, len(self.vectors))

    def noise(self) -> torch.Generator:
        """What a store draws its noise from, the same for every attacker."""
        return torch.Generator().manual_seed(self.run.seed + 1)

    def file(self, defence: Defence) -> str:
        """The name of a defence in names of files."""
        return f"{defence.name}-{defence.strength}".replace(" ", "").replace("%", "")

    def undo(self, defence: Defence, known: Known) -> Undoing | None:
        """How an attacker who knows so much undoes a defence."""
        normalised = self.subject.embed.normalised
        if defence.name in COMPARED:
            return self._best(defence, known)
        if defence.name != SECRET or not len(known.pairs):
            return known.undo(defence, self.run.seed, normalised)
        first = self.attacked + len(known.pairs)
        stored = protected(defence, known.pairs, self.noise(), normalised)
        store = protected(defence, self.vectors, self.noise(), normalised)
        rest = torch.cat([store[: self.attacked], store[first:]])
        name = f"reading-{self.file(defence)}-{len(known.pairs)}-{len(known.own)}"
        read = functools.partial(self.read, name)
        return rotated.learned(known, stored, rest, read, self.subject.embed)

    def _best(self, defence: Defence, known: Known) -> Undoing | None:
        """The map that pairs teach, or none where rows of known texts are read better without.

        A map errs least in squares, and from few pairs that may be far from what is read best. So some
        pairs are left out, read both ways, and what was read is embedded and compared.
        """
        seed, normalised = self.run.seed, self.subject.embed.normalised
        learned = known.undo(defence, seed, normalised)
        apart = min(JUDGING, len(known.pairs) // 4)
        if learned is None or apart < FEWEST_JUDGING:
            return learned
        rest, judged = known.pairs[:-apart], known.pairs[-apart:]
        tried = evolve(known, pairs=rest).undo(defence, seed, normalised)
        plain = without_map(defence, known.pairs, seed, normalised)
        if tried is None:
            return learned
        stored = protected(defence, judged, self.noise(), normalised)
        name = f"judging-{self.file(defence)}-{len(known.pairs)}-{len(known.own)}"
        likeness = []
        for number, way in enumerate((tried, plain)):
            filled = way.fill(stored)
            texts = self.read(name, unit(filled) if normalised else filled, number, way.left)
            likeness.append(float((unit(self.subject.embed(texts)) * unit(judged)).sum(1).mean()))
        return learned if likeness[0] >= likeness[1] else plain

    def read(self, name: str, vectors: Tensor, number: int, left: float) -> list[str]:
        """First hypotheses of vectors (n, D), one each: what an attacker reads to learn more pairs."""
        options = with_options(self.reader(left), beam=1, steps=0)
        label = f"{name}-{number}"
        attacked = self.attacker.invert(label, vectors, options, "readings", light=True)
        return final_texts(attacked.file, attacked.rows)

    def seen(self, defence: Defence, undoing: Undoing | None) -> Tensor:
        """The attacked rows of the protected store, as the attacker reads them."""
        normalised = self.subject.embed.normalised
        store = protected(defence, self.vectors, self.noise(), normalised)[: self.attacked]
        seen = store if undoing is None else undoing.fill(store)
        return unit(seen) if normalised else seen

    def reader(self, left: float) -> Any:
        """Options with the networks that read best where so much a coordinate is left of a defence."""
        blurred = left > BLURRED and self.trained is not None
        return self.trained if blurred else self.subject.options
