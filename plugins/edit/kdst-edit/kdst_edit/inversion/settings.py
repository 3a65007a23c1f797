"""What decides an inversion; imports nothing heavy, so that options classes can use it."""

from typing import Literal, get_args

from attrs import field, frozen, validators

Kind = Literal["direct", "ddim", "null-text", "ddpm", "rf-inversion", "rf-solver"]
KINDS: tuple[Kind, ...] = ("direct", "ddim", "null-text", "ddpm")
"""Those for models of diffusion."""
FLOW_KINDS: tuple[Kind, ...] = ("direct", "ddim", "rf-inversion", "rf-solver")
"""Those for models of flow, whose `ddim` is Euler's method backwards."""
GAMMA, ETA, LED = 0.5, 0.9, 6 / 28
"""Published for RF-Inversion: the share of the line to noise, that of the line to the image, and in which
share of the steps."""


@frozen(kw_only=True)
class InversionSettings:
    """How a real image is inverted.

    kind: `direct` (DDIM inversion whose path the source row is put back on after every step; Ju et
    al., ICLR 2024), `ddim`, `null-text` or `ddpm` (edit-friendly); for flow models also `rf-inversion`
    (Rout et al., 2024) and `rf-solver` (Wang et al., 2024), put back on its path as `direct` is.
    steps: of sampling; inversion visits the same levels.
    substeps: finer steps of DDIM inversion between two of these; 20 with 50 steps is the published
    1,000-step inversion of Plug-and-Play.
    fixed_point: refining iterations of each DDIM inversion step, 0 as published.
    guidance: with which null-text is optimised and must be sampled; the other kinds get the source
    back without it.
    source_guidance: while inverting; None means 1, and 3.5 for `ddpm`, as published.
    skip: share of the steps that `ddpm` does not carry out; .36 is published.
    inner_steps: of null-text's optimiser, for each step.
    gamma, eta, led: of RF-Inversion: γ and η, and the share of the steps in which η acts.
    """

    kind: Kind = field(default="direct", validator=validators.in_(get_args(Kind)))
    steps: int = field(default=50, validator=validators.ge(1))
    substeps: int = field(default=1, validator=validators.ge(1))
    fixed_point: int = field(default=0, validator=validators.ge(0))
    guidance: float = 7.5
    source_guidance: float | None = None
    skip: float = field(default=0.36, validator=[validators.ge(0), validators.lt(1)])
    inner_steps: int = field(default=10, validator=validators.ge(1))
    gamma: float = field(default=GAMMA, validator=[validators.ge(0), validators.le(1)])
    eta: float = field(default=ETA, validator=[validators.ge(0), validators.le(1)])
    led: float = field(default=LED, validator=[validators.ge(0), validators.le(1)])

    @property
    def inverting_guidance(self) -> float:
        """The guidance of the network while inverting."""
        if self.source_guidance is not None:
            return self.source_guidance
        return 3.5 if self.kind == "ddpm" else 1.0
