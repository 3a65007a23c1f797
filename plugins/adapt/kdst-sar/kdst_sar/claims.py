"""What the paper claims of SAR, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="stable-under-label-shift",
        sentence="Where labels of the stream are correlated, SAR is more accurate than Tent.",
        source="table 2",
        measure=ACCURACY,
        against={"method": "tent"},
        quick={**QUICK, "dirichlet": 0.1},
        full={**FULL, "dirichlet": 0.1},
        known_against=(
            "the paper's models have group or layer norm; it says itself that BatchNorm is"
            " the obstacle"
        ),
    ),
    Claim(
        name="stable-in-small-batches",
        sentence="In batches of four, SAR is more accurate than Tent.",
        source="table 4",
        measure=ACCURACY,
        against={"method": "tent"},
        quick={"images": 60, "batch_size": 4, "seeds": 3},
        full={"images": 200, "batch_size": 4, "seeds": 5},
        known_against=(
            "the paper's models have group or layer norm; it says itself that BatchNorm is"
            " the obstacle"
        ),
    ),
    Claim(
        name="stable-under-mixed-shifts",
        sentence="Where corruptions are mixed in one stream, SAR is more accurate than Tent.",
        source="table 3",
        measure=ACCURACY,
        against={"method": "tent"},
        quick={**QUICK, "setting": "mixed"},
        full={**FULL, "setting": "mixed"},
    ),
)
