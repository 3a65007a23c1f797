"""What the paper claims of TurboEdit, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"steps": 4, "seeds": 5}
FULL = {"steps": 4, "seeds": 32}

CLAIMS = (
    Claim(
        name="rest-stays",
        sentence="In four steps, the rest of the image stays more alike than by sampling anew.",
        source="experiments",
        measure="background_psnr - plain.background_psnr",
        quick=QUICK,
        full=FULL,
        known_to_fail=(
            "the embedded model is no few-step model and is guided besides; in the two seeds that were"
            " looked at it kept less of the rest than sampling anew"
        ),
    ),
    Claim(
        name="pseudo-guidance",
        sentence="Pseudo-guidance makes edits arrive more often than edit-friendly inversion does.",
        source="pseudo-guidance",
        measure="success",
        run={"w": 1.5},
        against={"w": 1.0},
        quick=QUICK,
        full=FULL,
    ),
)
