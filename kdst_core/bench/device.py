"""Devices, for the benches that compute with torch."""

from collections.abc import Collection

from kdst_core.errors import KdstError, first_line

AUTO = "auto"
"""What `--device` is where nobody says."""


def has_cuda() -> bool:
    """Return whether torch finds a CUDA device."""
    import torch

    return torch.cuda.is_available()


def usable(name: str) -> str:
    """Return the name of a device; KdstError when torch cannot use it."""
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as e:
        reason = first_line(e)
        raise KdstError(f"--device {name} cannot be used: {reason[:120]}") from e
    return name


def choose(asked: str, needs: Collection[str] = (), *, small: bool = False) -> str:
    """Return the device of a run; KdstError when torch cannot use it.

    asked: as `--device` takes it. needs: of the method's description; one that needs CUDA gets it. small:
    whether the work is too small for a GPU to pay, so that `auto` stays on the CPU.
    """
    if asked != AUTO:
        return usable(asked)
    return usable("cuda" if "cuda" in needs or (has_cuda() and not small) else "cpu")
