"""What decides an inversion; imports nothing heavy, so that options classes can use it."""

from typing import Literal, get_args

from attrs import field, frozen, validators

Kind = Literal["direct", "ddim", "null-text", "ddpm"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@frozen(kw_only=True)
class InversionSettings:
    """How a real image is inverted.

    kind: `direct` (DDIM inversion whose path the source row is put back on after every step; Ju et
    al., ICLR 2024), `ddim`, `null-text` or `ddpm` (edit-friendly).
    steps: of sampling; inversion visits the same levels.
    substeps: finer steps of DDIM inversion between two of these; 20 with 50 steps is the published
    1,000-step inversion of Plug-and-Play.
    fixed_point: refining iterations of each DDIM inversion step, 0 as published.
    guidance: with which null-text is optimised and must be sampled; the other kinds get the source
    back without it.
    source_guidance: while inverting; None means 1, and 3.5 for `ddpm`, as published.
    skip: share of the steps that `ddpm` does not carry out; .36 is published.
    inner_steps: of null-text's optimiser, for each step.
    """

    kind: Kind = field(default="direct", validator=validators.in_(KINDS))
    steps: int = field(default=50, validator=validators.ge(1))
    substeps: int = field(default=1, validator=validators.ge(1))
    fixed_point: int = field(default=0, validator=validators.ge(0))
    guidance: float = 7.5
    source_guidance: float | None = None
    skip: float = field(default=0.36, validator=[validators.ge(0), validators.lt(1)])
    inner_steps: int = field(default=10, validator=validators.ge(1))

    @property
    def inverting_guidance(self) -> float:
        """The guidance of the network while inverting."""
        if self.source_guidance is not None:
            return self.source_guidance
        return 3.5 if self.kind == "ddpm" else 1.0
