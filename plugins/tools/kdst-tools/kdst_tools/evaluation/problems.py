"""Problems with one answer each."""

from attrs import frozen


@frozen
class Problem:
    """prompt: text up to its answer. answer: a number as text, or words that must follow.

    tool, input: the call that finds the answer, where it is known.
    """

    prompt: str
    answer: str
    tool: str = ""
    input: str = ""
