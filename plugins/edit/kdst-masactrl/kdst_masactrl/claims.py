"""What the paper claims of MasaCtrl, as runs that try it."""

from kdst_core.contracts import Claim

RING = {
    "source": "a red disc on a white background",
    "target": "a red ring on a white background",
}
QUICK = {"steps": 20, "seeds": 5, **RING}
FULL = {"seeds": 32, **RING}

CLAIMS = (
    Claim(
        name="reads-content-from-the-source",
        sentence=(
            "Colours and surroundings are read from the source while the shape follows the target."
        ),
        source="section 4.1",
        measure="background_psnr - plain.background_psnr",
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="shape-follows-the-target",
        sentence="The shape is that of the target prompt in more than half of the edits.",
        source="section 4.1",
        measure="says.shape",
        least=0.5,
        quick=QUICK,
        full=FULL,
    ),
)
