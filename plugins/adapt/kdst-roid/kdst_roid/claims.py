"""What the paper claims of ROID, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-norm",
        sentence="ROID is more accurate than statistics of the batch alone.",
        source="experiments on continual shifts",
        measure=ACCURACY,
        against={"method": "norm"},
        quick={**QUICK, "reset": "never"},
        full={**FULL, "reset": "never"},
    ),
    Claim(
        name="stable-under-label-shift",
        sentence="Where labels of the stream are correlated, ROID is more accurate than Tent.",
        source="experiments on correlated labels",
        measure=ACCURACY,
        against={"method": "tent"},
        quick={**QUICK, "dirichlet": 0.1},
        full={**FULL, "dirichlet": 0.1},
    ),
)
