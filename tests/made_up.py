"""A made-up bench and method whose effects are known, as an installed package."""

from pathlib import Path

from tests.fakes import BENCH, distribution

CODE = '''
"""Draws numbers around a mean."""
import os, signal
import random
from pathlib import Path
from attrs import frozen
from kdst_core import Description, hookimpl, option
from kdst_core.bench.contract import Outcome
from kdst_core.contracts import Claim
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import JsonCodec

@frozen
class Inputs:
    world: int = option(0, "Which numbers are drawn.", min=0)
    parts: int = option(8, "How many.", min=1)
    texts: str = option("", "What they are drawn for.")

@frozen
class Options:
    effect: float = option(0.0, "What is added to every number.")
    fail: bool = option(False, "Whether it fails.")

ONE = {"seeds": 3}

def claim(name, effect, **more):
    return Claim(name=name, sentence=name, source="section 1", measure="part.*",
                 run={"effect": effect}, against={}, quick=ONE, full={"seeds": 5}, **more)

CLAIMS = [
    claim("planted-true", 3.0, least=0.1),
    claim("planted-false", -3.0),
    claim("planted-tiny", 0.05, least=0.05),
    claim("marked", -3.0, known_to_fail="planted"),
    Claim(name="without", sentence="one run", source="table 1", measure="mean - base",
          run={"effect": 2.0}, quick={"seeds": 3}),
    Claim(name="alone", sentence="one number", source="table 1", measure="mean"),
    Claim(name="missing", sentence="no metric", source="table 1", measure="nothing.*"),
    Claim(name="failing", sentence="no run", source="table 1", measure="mean",
          run={"fail": True}),
    Claim(name="lower", sentence="less", source="table 2", measure="part.*", better="lower",
          run={"effect": -3.0}, against={}, quick=ONE),
]

@hookimpl
def describe():
    return Description(summary="Draws numbers.", options=Options, claims=CLAIMS)

@hookimpl
def invert(request, options, run):
    if options.fail:
        raise ValueError("as it was told")
    draw = random.Random(f"{request} {run.seed} {options.effect}").gauss
    return [options.effect + draw(0, 1) for _ in range(99)]

@frozen
class Prepared:
    job: object
    device: str = "cpu"
    def execute(self, run):
        with open(os.environ.get("MADE_UP_LOG", os.devnull), "a") as log:
            log.write(run.dir.name + "\\n")
        inputs = self.job.inputs
        drawn = self.job.method.call(inputs.world, self.job.options, run)[: inputs.parts]
        metrics = {f"part.{n}": x for n, x in enumerate(drawn)}
        mean = sum(drawn) / len(drawn)
        return Outcome({**metrics, "part.mean": mean, "mean": mean, "base": 0.0}, {}, {}, [], ["ok"])
'''
ENTRIES = "[kdst.invert]\nmade-up = made_up_invert\n[kdst.benches]\ninvert = made_up_invert:bench\n"


def install(folder: Path) -> Path:
    """Write bench and method into a folder; their distribution hides the real bench."""
    distribution(folder, ENTRIES)
    (folder / "made_up_invert.py").write_text(CODE + BENCH)
    return folder
