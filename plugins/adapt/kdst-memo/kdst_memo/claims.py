"""What the paper claims of MEMO, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 20, "types": "contrast,fog"}
FULL = {"images": 100, "seeds": 3}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-source",
        sentence=(
            "Adapting to every image by itself is more accurate than the model that is not adapted."
        ),
        source="table 1",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="above-norm",
        sentence=(
            "Adapting to every image by itself is more accurate than statistics of a whole batch."
        ),
        source="tables 1 and 2, where batches are not at hand",
        measure=ACCURACY,
        against={"method": "norm"},
        quick=QUICK,
        full=FULL,
        known_to_fail=(
            "the embedded digits' shifts are of the kind that batch statistics repair, which a method of"
            " one image cannot use"
        ),
    ),
)
