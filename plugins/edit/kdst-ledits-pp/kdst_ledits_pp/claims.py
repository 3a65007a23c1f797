"""What the paper claims of LEDITS++, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"steps": 20, "seeds": 5}
FULL = {"steps": 20, "seeds": 32}
ROOM = {"threshold": 0.7}
"""The embedded model's objects cover more than the tenth of a picture that the default leaves to edits."""

CLAIMS = (
    Claim(
        name="masks-keep-the-rest",
        sentence="The implicit masks keep more of the rest of the image than guidance without them.",
        source="semantic grounding",
        measure="background_psnr",
        run={"grounding": "intersect", **ROOM},
        against={"grounding": "none", **ROOM},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="edit-arrives",
        sentence="The edit is seen in more than half of the images.",
        source="experiments",
        measure="success",
        run=ROOM,
        least=0.5,
        quick=QUICK,
        full=FULL,
    ),
)
