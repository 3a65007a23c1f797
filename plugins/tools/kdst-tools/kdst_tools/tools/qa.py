"""Question answering by a local model: one that writes answers, or one that finds them in a text."""

from kdst_core.contracts import Document, Tool
from kdst_tools.tools import local
from kdst_tools.tools.kit import FunctionTool, needed_path

EXAMPLES = (
    (
        "Marie Curie was born in Warsaw and worked in Paris.",
        "Marie Curie was born in [QA(Where was Marie Curie born?)] Warsaw and worked in Paris.",
    ),
    (
        "The Danube flows into the Black Sea after 2,850 kilometres.",
        "The Danube flows into [QA(Which sea does the Danube flow into?)] the Black Sea after "
        "2,850 kilometres.",
    ),
    (
        "Penicillin was discovered by Alexander Fleming, by chance.",
        "Penicillin was discovered by [QA(Who discovered penicillin?)] Alexander Fleming, by "
        "chance.",
    ),
)


def make(argument: str | None) -> Tool:
    """Return question answering by the model of a directory.

    A model for extractive answers looks for them in the document itself; any other is taken as
    sequence-to-sequence and answers from what it knows.
    """
    path = needed_path("qa", argument, "a directory with a model of transformers", directory=True)
    if local.architecture(path).endswith("ForQuestionAnswering"):
        find = local.Extractive(path)

        def answer(question: str, document: Document) -> str:
            return find(question, document.text)
    else:
        write = local.Seq2Seq(path)

        def answer(question: str, document: Document) -> str:
            return write(question)

    return FunctionTool(
        "QA",
        "The input is a question; the result is its answer in a few words.",
        answer,
        EXAMPLES,
        timeout=30.0,
    )
