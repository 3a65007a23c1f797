"""The tools that ship: each a small object, made by a factory that `--tools` finds."""

from kdst_tools.tools.calculate import calculator

__all__ = ["calculator"]
