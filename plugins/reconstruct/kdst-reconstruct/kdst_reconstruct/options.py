"""What authors of methods inherit."""

from attrs import frozen

from kdst_core.options import option

PAPER_ITERATIONS = 30_000
"""Iterations of a fit that nothing else decides, as in Kerbl et al. 2023."""


@frozen
class FitOptions:
    """Options of a method that fits a scene by iterations."""

    iterations: int = option(
        0,
        "Training iterations, one view each. 0: the paper's 30,000, or what the capture asks for.",
        min=0,
    )
