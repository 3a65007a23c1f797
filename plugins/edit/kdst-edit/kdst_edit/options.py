"""What authors of methods build their options of; imports nothing heavy."""

from typing import Any

from kdst_core.options import option


def share(default: float, text: str) -> Any:
    """Return an option for a part of a whole in [0, 1], such as a share of the steps.

    `kit.shares` turns a share of the steps into steps.
    """
    return option(default, text, min=0, max=1)
