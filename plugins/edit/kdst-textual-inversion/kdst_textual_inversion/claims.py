"""What the paper claims of textual inversion, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"steps": 20, "train_steps": 40, "seeds": 3}
FULL = {"seeds": 8}

CLAIMS = (
    Claim(
        name="word-carries-the-concept",
        sentence=(
            "The learned word works in prompts that no picture showed: what they ask for is seen."
        ),
        source="section 4.1",
        measure="success",
        least=0.5,
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="layout-stays",
        sentence="The learned word leaves shape and place as the prompt asks.",
        source="section 4.1",
        measure="mask_iou",
        least=0.5,
        quick=QUICK,
        full=FULL,
    ),
)
