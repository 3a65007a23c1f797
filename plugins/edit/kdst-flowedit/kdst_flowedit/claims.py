"""What the paper claims of FlowEdit, as runs that try it on the embedded flow transformer."""

from kdst_core.contracts import Claim

MODEL = {"model": "tiny-flow"}
FLOW = MODEL | {"source_guidance": 1.5, "target_guidance": 5.5}
QUICK = {"steps": 20, "seeds": 5}
FULL = {"seeds": 32}

CLAIMS = (
    Claim(
        name="keeps-the-rest",
        sentence=(
            "Editing along the difference of two velocities keeps what the target does not change,"
            " compared with sampling it from the source's noise."
        ),
        source="abstract and figure 2",
        measure="background_psnr - plain.background_psnr",
        least=3.0,
        run=FLOW,
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="n-max-trades-structure",
        sentence="The fewer of the steps it edits in, the more of the source is kept.",
        source="algorithm 1 and what is said of n_max",
        measure="background_psnr",
        run=FLOW | {"n_max": 10, "steps": 20},
        against=FLOW | {"n_max": 20, "steps": 20},
        quick={"seeds": 5},
        full=FULL,
    ),
)
