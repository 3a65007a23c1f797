"""Machine translation by a local sequence-to-sequence model (Toolformer, section 3)."""

from kdst_core.contracts import Tool
from kdst_tools.tools import local
from kdst_tools.tools.kit import FunctionTool, needed_path

EXAMPLES = (
    (
        "His first book, Die Verwandlung (The Metamorphosis), appeared in 1915.",
        "His first book, Die Verwandlung ([MT(Die Verwandlung)] The Metamorphosis), appeared in "
        "1915.",
    ),
    (
        "On the gate stands Bienvenue, which means welcome.",
        "On the gate stands Bienvenue, which means [MT(Bienvenue)] welcome.",
    ),
    (
        "The Italians call it la città eterna, the eternal city.",
        "The Italians call it la città eterna, [MT(la città eterna)] the eternal city.",
    ),
)


def make(argument: str | None) -> Tool:
    """Return translation by the model of DIR or DIR#LANGUAGE.

    LANGUAGE is the token that a model of many languages begins its output with, for example eng_Latn.
    """
    name, _, language = (argument or "").partition("#")
    what = "a directory with a sequence-to-sequence model of transformers"
    translate = local.Seq2Seq(
        needed_path("translate", name, what, directory=True), language or None
    )
    return FunctionTool(
        "MT",
        "The input is a piece of text in another language; the result is its translation.",
        lambda text, _document: translate(text),
        EXAMPLES,
        timeout=30.0,
    )
