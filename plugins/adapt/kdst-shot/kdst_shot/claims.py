"""What the paper claims of SHOT, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-source",
        sentence=(
            "Information maximisation with pseudo-labels adapts a source model without source data."
        ),
        source="experiments",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
        known_against="the paper trains for epochs on all target images, not online",
    ),
    Claim(
        name="above-norm",
        sentence="Information maximisation gains beyond statistics of the batch.",
        source="experiments",
        measure=ACCURACY,
        against={"method": "norm"},
        quick=QUICK,
        full=FULL,
        known_against="batch statistics do nearly all of the work on the embedded digits",
    ),
)
