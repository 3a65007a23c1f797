"""The vectors of a run, the texts behind them where they are known, and what an inverter trains on."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_core.progress import Mode
from kdst_invert.audit import check_pairs, checked_vectors
from kdst_invert.embedders.batches import embedded
from kdst_invert.files import read_texts, read_vectors
from kdst_invert.inputs import InvertInputs
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from torch import Tensor

NOTES = 500
MOST_HELD_OUT = 500
NO_TEXTS = "--stage fit needs the texts of the vectors: give --texts FILE"


@frozen
class Target:
    """What is inverted, and what is known of it.

    training: texts that the inverter is to be trained on, with vectors where they were given. notes:
    whether the texts are the embedded notes. said: what was done to the vectors.
    """

    vectors: "Tensor"
    originals: Originals | None
    notes: bool = False
    training: tuple[str, ...] = ()
    training_vectors: "Tensor | None" = None
    said: tuple[str, ...] = ()


@frozen
class Plan:
    """What is to be inverted, read and not yet embedded.

    vectors, originals: those that were given, or the embedded notes. notes: whether these are meant.
    """

    inputs: InvertInputs
    vectors: "Tensor | None"
    originals: Originals | None
    notes: bool

    @property
    def rows(self) -> int:
        """How many rows are taken; a study also needs those that it does not attack."""
        if self.inputs.stage == "fit":
            return self.held
        given = self.vectors if self.vectors is not None else self._known().texts
        count = self.inputs.count
        return (
            len(given) if count is None or self.inputs.study != "none" else min(count, len(given))
        )

    @property
    def held(self) -> int:
        """How many texts a fit holds out."""
        total = len(self._known().texts)
        if self.notes:
            return total
        inputs = self.inputs
        return min(MOST_HELD_OUT, inputs.count or MOST_HELD_OUT, int(total * inputs.holdout))

    def _known(self) -> Originals:
        """The texts; KdstError where they are needed and were not given."""
        if self.originals is None:
            raise KdstError(NO_TEXTS)
        return self.originals

    def target(self, embed: Embedder, show: Mode = "quiet") -> Target:
        """Make or check the vectors; KdstError for any that cannot be inverted."""
        if self.inputs.stage == "fit":
            return self._for_fit(embed, show)
        rows = range(self.rows)
        if self.vectors is None:
            kept = self._known().cut(rows)
            return Target(embedded(embed, kept.texts, show), kept, self.notes)
        found, said = checked_vectors(
            self.vectors[: len(rows)], embed.normalised, self.inputs.embeddings
        )
        originals = None if self.originals is None else self.originals.cut(rows)
        if originals is not None:
            said += check_pairs(originals.texts, found, embed)
        return Target(found, originals, said=tuple(said))

    def _for_fit(self, embed: Embedder, show: Mode) -> Target:
        """Texts to train on, and others that are inverted; no text is on both sides."""
        originals, held = self._known(), self.held
        if self.notes:
            from kdst_invert.default.notes import notes as drawn

            training = tuple(n.text for n in drawn("train", self.inputs.training))
            return Target(embedded(embed, originals.texts, show), originals, False, training)
        total = len(originals.texts)
        if held < 1 or total - held < 2:
            raise KdstError(f"--stage fit holds out {held} of {total} texts; give more texts")
        apart = originals.cut(range(total - held, total))
        kept = set(apart.texts)
        rows = [i for i in range(total - held) if originals.texts[i] not in kept]
        if len(rows) < 2:
            raise KdstError(
                "fewer than two texts are left to train on that are not held out as well"
            )
        training = tuple(originals.texts[i] for i in rows)
        if self.vectors is None:
            return Target(embedded(embed, apart.texts, show), apart, False, training)
        found, said = checked_vectors(self.vectors, embed.normalised, self.inputs.embeddings)
        said += check_pairs(originals.texts, found, embed)
        return Target(found[total - held :], apart, False, training, found[rows], tuple(said))


def read(inputs: InvertInputs, seed: int, live: Mapping[str, Any] | None = None) -> Plan:
    """Read texts and vectors; KdstError for anything that cannot be inverted. Nothing is embedded.

    live: texts or embeddings given from Python in place of files.
    """
    vectors, originals = _given(inputs, live or {})
    notes = vectors is None and originals is None
    if notes:
        wanted = inputs.count or NOTES
        originals = held_out(max(wanted, NOTES) if inputs.study != "none" else wanted, seed)
    if vectors is not None and originals is not None and len(vectors) != len(originals.texts):
        raise KdstError(f"there are {len(vectors)} vectors but {len(originals.texts)} texts")
    if inputs.stage == "fit" and originals is None:
        raise KdstError(NO_TEXTS)
    return Plan(inputs, vectors, originals, notes)


def judging_files(inputs: InvertInputs) -> list[Path]:
    """Return the files that hold the texts behind the vectors, for no method to open."""
    vectors = inputs.embeddings
    with_texts = vectors is not None and vectors.suffix == ".parquet"
    return [path for path in (inputs.texts, vectors if with_texts else None) if path is not None]


def load(
    inputs: InvertInputs,
    embed: Embedder,
    seed: int,
    live: Mapping[str, Any] | None = None,
    show: Mode = "quiet",
) -> Target:
    """Read or make the vectors; KdstError for anything that cannot be inverted.

    live: texts or embeddings given from Python in place of files. show: how progress is shown.
    """
    return read(inputs, seed, live).target(embed, show)


def _given(
    inputs: InvertInputs, live: Mapping[str, Any]
) -> "tuple[Tensor | None, Originals | None]":
    """Vectors and texts from files or from Python, as far as there are any."""
    vectors, originals = None, None
    if "embeddings" in live:
        vectors = vectors_of(live["embeddings"])
    elif inputs.embeddings is not None:
        vectors, originals = read_vectors(inputs.embeddings)
    if "texts" in live:
        originals = Originals(list(live["texts"]))
        if not originals.texts or not all(isinstance(t, str) and t.strip() for t in live["texts"]):
            raise KdstError("texts must be a list of texts, none of them empty")
    elif inputs.texts is not None:
        originals = read_texts(inputs.texts)
    return vectors, originals


def vectors_of(given: Any) -> "Tensor":
    """A tensor or array from Python as float32."""
    import torch

    try:
        return torch.as_tensor(given).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError) as e:
        raise KdstError(f"embeddings must be numbers (N, D), not {type(given).__name__}") from e


def held_out(count: int, seed: int) -> Originals:
    """Held-out notes with their fields."""
    from kdst_invert.default.notes import notes

    found = notes("held-out", count, seed)
    return Originals([n.text for n in found], [n.fields for n in found])
