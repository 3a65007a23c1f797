"""The vectors of a run, the texts behind them where they are known, and what an inverter trains on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_core.progress import Mode, progress
from kdst_invert.inputs import InvertInputs
from kdst_invert.texts import Originals, checked, read_texts, read_vectors

if TYPE_CHECKING:
    from torch import Tensor

NOTES = 500
MOST_HELD_OUT = 500
AT_A_TIME = 256


@frozen
class Source:
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


def load(
    inputs: InvertInputs,
    embed: Embedder,
    seed: int,
    live: Mapping[str, Any] | None = None,
    show: Mode = "quiet",
) -> Source:
    """Read or make the vectors; KdstError for anything that cannot be inverted.

    live: texts or embeddings given from Python in place of files. show: how progress is shown.
    """
    vectors, originals = _given(inputs, live or {})
    notes = vectors is None and originals is None
    if notes:
        wanted = inputs.count or NOTES
        originals = held_out(max(wanted, NOTES) if inputs.study != "none" else wanted, seed)
    if vectors is not None and originals is not None and len(vectors) != len(originals.texts):
        raise KdstError(f"there are {len(vectors)} vectors but {len(originals.texts)} texts")
    if inputs.stage == "fit":
        return _for_fit(inputs, embed, vectors, originals, notes, show)
    rows = range(_count(inputs, vectors, originals))
    if vectors is None:
        assert originals is not None
        kept = originals.cut(rows)
        return Source(embedded(embed, kept.texts, show), kept, notes)
    found, said = checked(vectors[: len(rows)], embed.normalised, inputs.embeddings)
    return Source(found, _first(originals, rows), said=tuple(said))


def _for_fit(
    inputs: InvertInputs,
    embed: Embedder,
    vectors: "Tensor | None",
    originals: Originals | None,
    notes: bool,
    show: Mode,
) -> Source:
    """Texts to train on, and others that are inverted; no text is on both sides."""
    if originals is None:
        raise KdstError("--stage fit needs the texts of the vectors: give --texts FILE")
    if notes:
        from kdst_invert.notes.generate import notes as drawn

        training = tuple(n.text for n in drawn("train", inputs.training))
        return Source(embedded(embed, originals.texts, show), originals, False, training)
    total = len(originals.texts)
    held = min(MOST_HELD_OUT, inputs.count or MOST_HELD_OUT, int(total * inputs.holdout))
    if held < 1 or total - held < 2:
        raise KdstError(f"--stage fit holds out {held} of {total} texts; give more texts")
    apart = originals.cut(range(total - held, total))
    kept = set(apart.texts)
    rows = [i for i in range(total - held) if originals.texts[i] not in kept]
    if len(rows) < 2:
        raise KdstError("fewer than two texts are left to train on that are not held out as well")
    training = tuple(originals.texts[i] for i in rows)
    if vectors is None:
        return Source(embedded(embed, apart.texts, show), apart, False, training)
    found, said = checked(vectors, embed.normalised, inputs.embeddings)
    return Source(found[total - held :], apart, False, training, found[rows], tuple(said))


def _count(inputs: InvertInputs, vectors: "Tensor | None", originals: Originals | None) -> int:
    """How many rows are taken; a study also needs those that it does not attack."""
    assert vectors is not None or originals is not None
    known = len(vectors) if vectors is not None else len(originals.texts) if originals else 0
    return known if inputs.count is None or inputs.study != "none" else min(inputs.count, known)


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


def _first(originals: Originals | None, rows: range) -> Originals | None:
    """The first texts, where there are any."""
    return None if originals is None else originals.cut(rows)


def held_out(count: int, seed: int) -> Originals:
    """Held-out notes with their fields."""
    from kdst_invert.notes.generate import notes

    found = notes("held-out", count, seed)
    return Originals([n.text for n in found], [n.fields for n in found])


def embedded(embed: Embedder, texts: Sequence[str], show: Mode = "quiet") -> "Tensor":
    """Vectors of texts. show: how progress is shown."""
    import torch

    rows, parts = list(texts), []
    with progress(len(rows), "embeddings", show) as advance:
        for start in range(0, len(rows), AT_A_TIME):
            some = rows[start : start + AT_A_TIME]
            parts.append(embed(some))
            advance(len(some))
    return torch.cat(parts)
