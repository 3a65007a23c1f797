"""What a model reads of a conversation: under its chat template, or, where it has none, as one text.

A conversation is rendered up to a message of the assistant, so that the loss of that message can be
taken. Without a template contents follow one another, and calls stand between them as in texts that
kdst annotates: ` [Name(input) -> result]`.
"""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from kdst_core.errors import KdstError, first_line
from kdst_tools.calls import escape
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.chat.conversations import (
    ChatCall,
    Message,
    arguments,
    calls_of,
    content,
    joined,
    without,
)


class Renderer(Protocol):
    """From conversations to tokens. start: the token that begins a call, None where none is known."""

    start: int | None

    def before(self, messages: Sequence[Message], tools: Any) -> list[int]:
        """Return the tokens before what the assistant says next."""

    def said(self, messages: Sequence[Message], index: int, tools: Any) -> list[int]:
        """Return the tokens of an assistant's message, its calls included."""


def renderer(tokenizer: Any) -> Renderer:
    """Return the renderer of a tokenizer: its template's, or that of plain texts."""
    return Templated(tokenizer) if tokenizer.chat_template else Inline(tokenizer)


class Templated:
    """Renders with the template that belongs to a tokenizer."""

    start: int | None = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.control = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()})

    def before(self, messages: Sequence[Message], tools: Any) -> list[int]:
        """The tokens up to an answer; one that has begun is gone on with."""
        given = list(messages)
        begun = given.pop() if given and _unfinished(given[-1]) else None
        text = self._text(given, tools, ask=True)
        return self._ids(text + (self._harmless(content(begun)) if begun else ""))

    def said(self, messages: Sequence[Message], index: int, tools: Any) -> list[int]:
        """What the template adds for a message; its content alone where it changes what is before."""
        given = messages[:index]
        whole = self._text([*given, messages[index]], tools, ask=False)
        start = self._text(given, tools, ask=True)
        if whole.startswith(start):
            return self._ids(whole[len(start) :])
        return self._ids(self._harmless(content(messages[index])))

    def _ids(self, text: str) -> list[int]:
        found = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return list(found)

    def _text(self, messages: Sequence[Message], tools: Any, ask: bool) -> str:
        """Apply the template; KdstError where it refuses."""
        try:
            text: str = self.tokenizer.apply_chat_template(
                [self._plain(message) for message in messages],
                tools=_tools(tools),
                tokenize=False,
                add_generation_prompt=ask,
            )
        except Exception as error:
            reason = first_line(error)
            raise KdstError(f"the chat template refuses it: {reason[:120]}") from error
        return text

    def _plain(self, message: Message) -> Message:
        """A message as templates expect it, without anything that spells a control token."""
        found = {**message, "content": content(message)}
        calls = [dict(call) for call in message.get("tool_calls") or []]
        for call in calls:
            function = dict(call.get("function", call))
            function["arguments"] = arguments(function.get("arguments"))
            call |= {"type": "function", "function": function}
        if calls:
            found["tool_calls"] = calls
        else:
            found.pop("tool_calls", None)
        plain: Message = self._spelt(found)
        return plain

    def _spelt(self, value: Any) -> Any:
        """A value with all its texts made harmless."""
        if isinstance(value, str):
            return self._harmless(value)
        if isinstance(value, dict):
            return {key: self._spelt(v) for key, v in value.items()}
        return [self._spelt(v) for v in value] if isinstance(value, list) else value

    def _harmless(self, text: str) -> str:
        """A text in which what spells a control token is broken by a space behind its first character."""
        for token in self.control:
            if len(token) > 1 and token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


class Inline:
    """Renders as one text with calls in it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokens = CallTokens(tokenizer)
        self.start: int | None = self.tokens.start_id

    def before(self, messages: Sequence[Message], tools: Any) -> list[int]:
        """The tokens of all messages, calls with the results that they have."""
        ids, text = list(self.tokens.prefix), ""
        calls = calls_of(messages)
        for index, message in enumerate(messages):
            if message["role"] == "tool":
                continue
            piece = joined(text, content(message))[len(text) :]
            ids += self.tokens.piece(escape(piece), first=not text)
            text += piece
            for call in (c for c in calls if c.message == index):
                ids += self._call(messages, call)
        return ids

    def said(self, messages: Sequence[Message], index: int, tools: Any) -> list[int]:
        """The tokens of a message's content and of its calls without results."""
        text = "".join(content(m) for m in messages[:index] if m["role"] != "tool")
        piece = joined(text, content(messages[index]))[len(text) :]
        ids = self.tokens.piece(escape(piece), first=not text)
        for call in (c for c in calls_of(messages) if c.message == index):
            ids += self.tokens.head(*_written(call))
        return ids

    def _call(self, messages: Sequence[Message], call: ChatCall) -> list[int]:
        """The tokens of a call, with its result where it has one."""
        result = None if call.answer is None else content(messages[call.answer])
        return self.tokens.call(*_written(call), result or None)


def _unfinished(message: Message) -> bool:
    """Whether an assistant's message is one that what follows belongs to."""
    return message["role"] == "assistant" and not message.get("tool_calls")


def _written(call: ChatCall) -> tuple[str, str]:
    """A call's name and input as text: a single value alone, several by their names."""
    given = call.arguments
    if not isinstance(given, dict):
        return call.tool, str(given)
    values = [
        v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in given.values()
    ]
    if len(values) == 1:
        return call.tool, values[0]
    return call.tool, ", ".join(f"{k}={v}" for k, v in zip(given, values, strict=True))


def _tools(given: Any) -> list[Any] | None:
    """The schemas of a row's tools, also where they are written as JSON."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return None
    return given if isinstance(given, list) and given else None


def emptied(messages: Sequence[Message], call: ChatCall) -> list[Message]:
    """Return the messages with a call whose result is empty."""
    assert call.answer is not None
    found = list(messages)
    found[call.answer] = {**found[call.answer], "content": ""}
    return found


def variants(messages: Sequence[Message], call: ChatCall) -> dict[str, list[Message]]:
    """Return the messages with nothing, with a call alone, and with the call and its result."""
    return {
        "L_empty": without(messages, call),
        "L_call": emptied(messages, call),
        "L_full": list(messages),
    }
