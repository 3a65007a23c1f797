"""What the paper claims of 3D Gaussian Splatting, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"iterations": 200, "downscale": 2, "flight_frames": 0, "lpips": "none", "seeds": 2}
FULL = {"flight_frames": 0, "lpips": "none", "seeds": 3}
PSNR = "psnr.holdout"

CLAIMS = (
    Claim(
        name="densification-pays",
        sentence="Cloning and splitting Gaussians during the fit raises PSNR.",
        source="table 3, no split and no clone",
        measure=PSNR,
        against={"refine_start_iter": 1000000},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="ssim-term-pays",
        sentence="The structural term of the loss raises the SSIM of views that were held out.",
        source="equation 7",
        measure="ssim.holdout",
        against={"dssim_weight": 0.0},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="harmonics-pay",
        sentence="Colours that depend on the direction raise PSNR.",
        source="table 3, no SH",
        measure=PSNR,
        against={"sh_degree": 0},
        quick={**QUICK, "sh_degree_interval": 40},
        full=FULL,
        known_against="the surfaces of the embedded solids look the same from every side",
    ),
    Claim(
        name="points-of-sfm-pay",
        sentence="Starting from points of structure from motion is better than from random ones.",
        source="table 3, random init",
        measure=PSNR,
        against={"init": "random", "init_num_points": 2000},
        quick=QUICK,
        full=FULL,
    ),
)
