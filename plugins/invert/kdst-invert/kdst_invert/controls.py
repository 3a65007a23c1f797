"""What chance and memory would give: controls beside the measures of an inversion."""

import json

from kdst_core.contracts import Embedder
from kdst_core.rundir import Run, write_atomically
from kdst_invert.attack import Attacked
from kdst_invert.scores import HEADLINE, Scores, final_texts, score_texts
from kdst_invert.source import Source
from kdst_invert.texts import Originals


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


def nearest(source: Source, training: list[str], embed: Embedder, run: Run) -> dict[str, float]:
    """The nearest training text in place of the inversion, kept once it is found."""
    import numpy as np

    from kdst_invert.notes.training import nearest as find

    assert source.originals is not None
    file = run.artifacts / "nearest.json"
    if file.exists():
        texts, cosines = json.loads(file.read_text(encoding="utf-8"))
    else:
        with run.progress(len(source.vectors), "nearest training texts") as advance:
            texts, found = find(source.originals.texts, source.vectors, training, embed)
            cosines = found.tolist()
            advance(len(texts))
        write_atomically(file, json.dumps([texts, cosines]))
    scores = score_texts(texts, source.originals)
    values = {**scores.values, "cosine": np.array(cosines, dtype=np.float32)[:, None]}
    return finals(Scores(values, 0), "nearest.")
