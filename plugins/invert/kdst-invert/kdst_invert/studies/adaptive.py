"""The attacker who knows the defence: what he learns from pairs, and where he compares his guesses."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Training
from kdst_invert.attackers.cells import learned_cells
from kdst_invert.attackers.filling import Filling, Linear, learned
from kdst_invert.attackers.rotation import learned_rotation
from kdst_invert.defences.defence import Defence, mean_length, unit
from kdst_invert.defences.lossy import Rounding
from kdst_invert.embedders.batches import embedded
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from kdst_invert.studies.target import StudyTarget

OWN = 1500
"""Notes of his own that an attacker of the embedded notes protects himself, to learn from."""
FEWEST = 200
"""Other texts from which on networks are trained with noise."""
COMPARED = ("dropping", "rounding")
"""Defences without chance or secret, so that guesses are compared after the same defence."""
SECRET = "rotation"
"""The defence that cannot be carried out by others, so that only pairs from the store teach it."""


@frozen
class Undoing:
    """How an attacker undoes a defence.

    fill: from stored vectors to those that they were made of. left: deviation a coordinate that stays.
    view: what he does to vectors of guesses before he compares them with filled ones, None for nothing.
    """

    fill: Filling
    left: float = 0.0
    view: Callable[[Tensor], Tensor] | None = None


@frozen
class Known:
    """What the attacker has to learn from.

    pairs: plain vectors (k, D) of texts whose stored vectors he knows. own: plain vectors (m, D) of
    other texts, which he can protect himself where the defence is no secret.
    """

    pairs: Tensor
    own: Tensor

    @property
    def count(self) -> int:
        """How many there are of both."""
        return len(self.pairs) + len(self.own)

    def few(self, count: int) -> "Known | None":
        """As many pairs and nothing else; None where there are not so many."""
        every = torch.cat([self.pairs, self.own])
        return Known(every[:count], every[:0]) if len(every) >= count else None

    def undo(self, defence: Defence, seed: int, normalised: bool) -> Undoing | None:
        """What is learned of a defence; None of a secret one without a pair."""
        secret = defence.name == SECRET
        known = self.pairs if secret else torch.cat([self.pairs, self.own])
        if secret and not len(known):
            return None
        generator = torch.Generator().manual_seed(seed + 2)
        stored = protected(defence, known, generator, normalised)
        if secret:
            return Undoing(Linear(learned_rotation(known, stored)))
        fill: Filling
        fill, left = learned(known, stored)
        if isinstance(defence, Rounding):
            cells = learned_cells(known, stored, defence, normalised)
            if cells is not None and cells[1] < left:
                fill, left = cells
        if defence.name not in COMPARED:
            return Undoing(fill, left)
        return compared(defence, fill, left, generator, normalised)


def compared(
    defence: Defence, fill: Filling, left: float, generator: torch.Generator, normalised: bool
) -> Undoing:
    """How a defence without chance or secret is undone: guesses go through it before they are compared."""

    def view(e: Tensor) -> Tensor:
        found = fill(protected(defence, e, generator, normalised))
        return unit(found) if normalised else found

    return Undoing(fill, left, view)


def without_map(defence: Defence, known: Tensor, seed: int, normalised: bool) -> Undoing:
    """An attacker who reads stored vectors as they are and only compares as `compared` says.

    known: plain vectors (k, D), by which he sees how much the defence takes.
    """
    generator = torch.Generator().manual_seed(seed + 2)
    gone = (protected(defence, known, generator, normalised) - known).double().square().mean()
    left = float(gone.sqrt()) / mean_length(known)
    return compared(defence, Linear(torch.eye(known.shape[1])), left, generator, normalised)


def protected(defence: Defence, e: Tensor, generator: torch.Generator, normalised: bool) -> Tensor:
    """Vectors as the store keeps them, of length 1 where the embedder's are."""
    found = defence.protect(e, generator)
    return unit(found) if normalised else found


def known_of(subject: "StudyTarget", attacked: int) -> Known:
    """The texts of the store that are not attacked; for the embedded notes others of the kind too."""
    pairs = subject.target.vectors[attacked:]
    if not subject.target.notes:
        return Known(pairs, pairs[:0])
    from kdst_invert.default.notes import notes

    texts = [n.text for n in notes("train", OWN)]
    return Known(pairs, embedded(subject.embed, texts, subject.show))


def training_of(
    subject: "StudyTarget", originals: Originals, attacked: int, directory: Path, most: int
) -> Training | None:
    """What the noise-trained networks learn from, without the noise; None with too few other texts."""
    if subject.target.notes:
        from kdst_invert.default.notes import notes

        texts = [n.text for n in notes("train", most)]
    else:
        texts = list(originals.texts[attacked:])
    return None if len(texts) < FEWEST else Training(texts, directory)
