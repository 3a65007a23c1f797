"""Devices, for the benches that compute with torch."""

from kdst_core.errors import KdstError, first_line


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
