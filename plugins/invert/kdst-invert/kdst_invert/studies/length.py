"""How far inversion reaches as texts grow from 16 to 128 tokens, after a brief training for it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdst_core.bench.contract import Outcome
from kdst_core.contracts import Training
from kdst_core.errors import KdstError
from kdst_core.runs.rundir import Run
from kdst_invert.embedders.batches import embedded
from kdst_invert.loop import Attacker
from kdst_invert.measures.scores import HEADLINE
from kdst_invert.options import with_options
from kdst_invert.studies.common import EPOCHS, FEW, attack, three, unseen
from kdst_invert.studies.target import outcome
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from kdst_invert.default.notes import Part
    from kdst_invert.studies.target import StudyTarget

LENGTHS = (16, 32, 64, 128)
"""Tokens of a text at most: whole notes, one after another, and the start of the next."""
TOKENS_A_WORD = 1.5
"""Tokens that a word and the marks behind it cost at most, on average."""
TRAINED_ON = 1000
"""Texts of each length that the attacker is trained on."""
BEAM, STEPS = 2, 3


def study(subject: "StudyTarget", attacker: Attacker, run: Run) -> Outcome:
    """Train on texts of all lengths, then invert held-out ones of each length."""
    if not subject.target.notes:
        raise KdstError(
            "--study length makes its own texts of the embedded notes; leave out --texts"
        )
    count = min(subject.count or FEW, FEW)
    training = [
        text
        for n, length in enumerate(LENGTHS)
        for text in passages("train", TRAINED_ON, length, n)
    ]
    model = run.artifacts / "long"
    options = subject.options
    trained = with_options(options, base=getattr(options, "model", None), **EPOCHS)
    trained = with_options(trained, max_seq_length=max(LENGTHS), beam=1, steps=0)
    one = Originals(passages("held-out", 1, LENGTHS[0], 0))
    vectors = embedded(subject.embed, one.texts)
    attack(attacker, "long-training", vectors, trained, one, Training(training, model))
    rows: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    narrow = with_options(options, model=str(model), beam=BEAM, steps=STEPS)
    for n, length in enumerate(LENGTHS):
        originals = Originals(passages("held-out", count, length, n))
        vectors = embedded(subject.embed, originals.texts)
        scores, costs = attack(attacker, f"length-{length}", vectors, narrow, originals)
        found = {m: three(scores.at(m)) for m in scores.values if m in HEADLINE}
        rows.append({"length": length, "leakage": found, **costs})
        metrics |= {f"length{length}.{m}": v[0] for m, v in found.items()}
    lines = [
        f"{row['length']} tokens: exact {row['leakage']['exact'][0]:.2f}"
        f" ({row['leakage']['exact'][1]:.2f} to {row['leakage']['exact'][2]:.2f}),"
        f" token F1 {row['leakage']['token_f1'][0]:.2f}, BLEU {row['leakage']['bleu'][0]:.2f}"
        for row in rows
    ]
    lines.append(unseen(count))
    table = {"rows": rows, "attacked": count, "trained_on": len(training), "sentences": lines}
    return outcome(subject, run, table, metrics, lines, {"model": "artifacts/long"})


def passages(part: "Part", count: int, length: int, kind: int) -> list[str]:
    """`count` texts of about `length` tokens: notes joined, the last one cut at a word."""
    from kdst_invert.default.notes import notes

    most = round(length / TOKENS_A_WORD)
    each = -(-most // 8)
    found = [note.text for note in notes(part, count * each, seed=1_000 + kind)]
    return [cut(found[i * each : (i + 1) * each], most) for i in range(count)]


def cut(texts: Sequence[str], most: int) -> str:
    """The first words of texts in a row."""
    return " ".join(" ".join(texts).split()[:most])
