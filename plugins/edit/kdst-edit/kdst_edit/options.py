"""What authors of methods build their options of; imports nothing heavy."""

from typing import Any

from kdst_core.options import option


def share(default: float, text: str) -> Any:
    """Return an option for a part of a whole in [0, 1], such as a share of the steps.

    `kit.shares` turns a share of the steps into steps.
    """
    return option(default, text, min=0, max=1)


def inverts(options: Any) -> bool:
    """Return whether a method edits a photograph from the bench's inversion of it.

    A method that needs none says `inverts: ClassVar[bool] = False` in its class of options. The bench
    then inverts nothing, and the request has no path; `kit.source_latents` are the photograph's.
    """
    return bool(getattr(options, "inverts", True))
