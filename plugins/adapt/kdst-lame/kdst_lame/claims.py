"""What the paper claims of LAME, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-source-under-label-shift",
        sentence=(
            "Where labels of the stream are correlated, LAME is more accurate than the model"
            " that is not adapted."
        ),
        source="experiments on streams that are not independent",
        measure=ACCURACY,
        against={"method": "source"},
        quick={**QUICK, "dirichlet": 0.1},
        full={**FULL, "dirichlet": 0.1},
        known_against=(
            "at severity 5 the embedded model is wrong more often than right, and neighbours agree on"
            " the wrong class"
        ),
    ),
    Claim(
        name="above-norm-under-label-shift",
        sentence=(
            "Where labels of the stream are correlated and the model is mostly right, LAME is more"
            " accurate than statistics of the batch."
        ),
        source="experiments on streams that are not independent",
        measure=ACCURACY,
        against={"method": "norm"},
        quick={"types": "gaussian_noise,fog", "seeds": 2, "dirichlet": 0.1, "severity": "1"},
        full={**FULL, "dirichlet": 0.1, "severity": "1"},
    ),
)
