"""Settings act, or are named: schedules of short runs, published values, options without effect."""

import pytest

from kdst_3dgs.options import Options


def test_the_schedule_of_a_long_run_is_the_paper_s() -> None:
    options = Options(iterations=30_000).scheduled()
    assert (options.refine_start_iter, options.refine_every) == (500, 100)
    assert options.density_control_end == 15_000
    assert (options.init_opacity, options.init_scale) == (0.1, 1.0)
    assert (options.opacity_reg, options.scale_reg) == (0, 0)


def test_mcmc_takes_its_published_values_and_what_is_given() -> None:
    options = Options(iterations=60_000, strategy="mcmc", scale_reg=0.0).scheduled()
    assert (options.init_opacity, options.init_scale) == (0.5, 0.1)
    assert (options.opacity_reg, options.scale_reg) == (0.01, 0.0)
    assert options.density_control_end == 25_000


@pytest.mark.parametrize("iterations", [30, 400, 900])
def test_density_control_fits_into_a_short_run(iterations: int) -> None:
    assert Options(iterations=iterations).refines
    assert not Options(iterations=iterations, refine_start_iter=1000).refines


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"noise_lr": 1e4}, "--noise-lr"),
        ({"strategy": "mcmc", "grow_grad2d": 1e-3}, "--grow-grad2d"),
        ({"init_num_points": 7}, "--init-num-points"),
        ({"exposure_lr": 0.1}, "--exposure-lr"),
        ({"exposure_lr": 0.1, "appearance": "bilateral"}, "--exposure-lr"),
        ({"bilateral_tv": 1.0, "exposure": True}, "--bilateral-tv"),
        ({"resolution_schedule": 10}, "--resolution-schedule"),
        ({"sh_degree": 2, "iterations": 900}, "--sh-degree"),
        ({"reset_every": 2500}, "--reset-every"),
        ({"iterations": 2}, "Density control never acts"),
    ],
)
def test_what_never_acts_is_named(values: dict[str, object], named: str) -> None:
    (sentence,) = Options(**{"iterations": 3000, **values}).unused()  # type: ignore[arg-type]
    assert sentence.startswith(named)


def test_defaults_are_not_complained_about() -> None:
    assert Options(iterations=900).unused() == []
