"""What is read of notes whose vectors were rounded to two bits, from known pairs alone.

    python benchmarks/invert_rounded.py FOLDER [--count 16] [--bits 2] [--pairs 190]

The first held-out notes of seed 0 in a store of 500 are attacked by the networks trained without a defence:
read by the cells (beam 2, 2 steps), then rewritten as the attacker `rewriting` of the defence study does.
FOLDER keeps what is found, so that a killed run goes on.
"""

import time
from pathlib import Path

import click
import torch

from kdst_authors.testing import make_run
from kdst_core.runs.codecs import JsonCodec
from kdst_core.runs.setup import setup_of
from kdst_invert.defences.lossy import Rounding
from kdst_invert.embedders.minilm import minilm
from kdst_invert.inputs import InvertInputs
from kdst_invert.load import load
from kdst_invert.loop import Attacker
from kdst_invert.measures.retrieval import Queries
from kdst_invert.measures.scores import final_texts, score_texts
from kdst_invert.studies import rewritten
from kdst_invert.studies.adaptive import Known
from kdst_invert.studies.stage import Stage
from kdst_invert.studies.target import StudyTarget, originals_of

SHOWN = ("token_f1", "names", "exact")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--count", default=16, show_default=True, help="Notes that are attacked.")
@click.option("--bits", default=2, show_default=True, help="Bits a coordinate.")
@click.option("--pairs", default=190, show_default=True, help="Known pairs.")
def main(folder: Path, count: int, bits: int, pairs: int) -> None:
    """Attack, and print what was read before and after rewriting."""
    torch.set_num_threads(1)
    setup, embed, began = setup_of("vec2text"), minilm(), time.process_time()
    target = load(InvertInputs(study="defence", count=count), embed, 0)
    options = setup.method.description.options()
    run = make_run(folder, codec=JsonCodec())
    attacker = Attacker(setup.method, embed, run, block=64)
    subject = StudyTarget("defence", target, embed, options, count, 0, "quiet")
    queries = Queries(target.vectors[:0], torch.arange(0), None)
    stage = Stage(subject, attacker, run, originals_of(subject), queries)
    defence, known = Rounding(bits), Known(target.vectors[count:][:pairs], target.vectors[:0])
    undoing = stage.undo(defence, known)
    assert undoing is not None
    found = rewritten.searched(stage, defence, undoing, len(known.pairs))
    read, shown = len(found["texts"]), stage.originals.cut(range(len(found["texts"])))
    start = final_texts(run.artifacts / f"rewriting-{stage.file(defence)}-start.jsonl", read)
    for label, texts in (("read by the cells", start), ("rewritten", found["texts"])):
        scores = score_texts(texts, shown)
        told = [f"{n} {(v := scores.at(n)).value:.3f} ({v.low:.3f} to {v.high:.3f})" for n in SHOWN]
        click.echo(f"{label}: {', '.join(told)}")
    spent = time.process_time() - began
    click.echo(f"{read} notes, {found['calls'] / read:.0f} embedder calls each, {spent:.0f} CPU-s")


if __name__ == "__main__":
    main()
