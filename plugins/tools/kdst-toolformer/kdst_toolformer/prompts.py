"""The few-shot prompt P(x) of a tool: what to do, examples with calls, then the text."""

from kdst_core.contracts import Tool


def head(tool: Tool) -> str:
    """The part of the prompt that is the same for every text, so that it is read once."""
    task = (
        f"Rewrite each text and put calls of the tool {tool.name} into it where the result helps to"
        f" write what follows. {tool.description} A call is written [{tool.name}(input)]."
        " Change nothing else.\n\n"
    )
    return task + "".join(f"{before(plain)}{called}\n\n" for plain, called in tool.examples)


def before(text: str) -> str:
    """The part of the prompt that shows a text and asks for it with calls."""
    return f"Text: {text}\nWith calls:\n"
