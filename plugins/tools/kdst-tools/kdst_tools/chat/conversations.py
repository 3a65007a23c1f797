"""Conversations as `messages` with `tool_calls`, the format of transformers' chat templates and of TRL.

A row is an object with `messages`, each with a `role` and a `content`, a text or a list of parts
{type: text, text}; an assistant's may have `tool_calls`, a list of {id, type, function: {name,
arguments}}, which messages of the role `tool` answer, by `tool_call_id` or in order. Whatever else a
row holds is left as it is.
"""

import datetime
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.errors import KdstError, first_line
from kdst_tools.corpora.lines import numbered_lines, unpacked

Row = dict[str, Any]
Message = dict[str, Any]
ROLES = ("system", "developer", "user", "assistant", "tool")
FORMATS = (".jsonl", ".jsonl.gz", ".parquet")


@frozen
class ChatCall:
    """One call of a conversation. message: index of the assistant's; place: among its calls.

    answer: index of the message with its result, None where there is none.
    """

    message: int
    place: int
    tool: str
    arguments: Any
    answer: int | None


def read(path: Path, skipped: list[str]) -> Iterator[Row]:
    """Yield the conversations of a file; what is none is named in `skipped`.

    KdstError for a file of another format, or one that cannot be read.
    """
    check(path)
    rows: Iterable[tuple[str, Any]] = (
        _of_lines(path, skipped) if _has_lines(path) else _of_parquet(path)
    )
    for where, row in rows:
        wrong = fault(row)
        if wrong:
            skipped.append(f"{where} ({wrong})")
        else:
            yield row


def check(path: Path) -> None:
    """Raise KdstError for what is no file of a known format."""
    if not path.is_file():
        raise KdstError(f"{path}: no such file")
    if not _has_lines(path) and path.suffix.lower() != ".parquet":
        raise KdstError(f"{path}: the format is not known; give a {', '.join(FORMATS)} file")


def _has_lines(path: Path) -> bool:
    """Whether a file holds JSON lines, compressed or not, by its name."""
    return unpacked(path.name.lower()).endswith(".jsonl")


def _of_lines(path: Path, skipped: list[str]) -> Iterator[tuple[str, Any]]:
    """The objects of JSON lines, each with the name of its line."""
    for number, line in numbered_lines(path, skipped):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError):
                skipped.append(f"line {number} (no JSON)")


def _of_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a Parquet file, without the nulls that its columns put into them."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches(256):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", _in_json(row)
    except (pa.ArrowException, OSError) as error:
        raise KdstError(f"{path} is not a Parquet file: {first_line(error)}") from error


def _in_json(value: Any) -> Any:
    """A value of a column as JSON has it: without keys that hold nothing, times and decimals as texts."""
    if isinstance(value, dict):
        return {key: _in_json(v) for key, v in value.items() if not _is_nothing(v)}
    if isinstance(value, list):
        return [_in_json(v) for v in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | datetime.timedelta) else value


def _is_nothing(value: Any) -> bool:
    """Whether a value is null, or the NaN that tables write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def fault(row: Any) -> str:
    """Return what makes a row no conversation, empty where it is one."""
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        return "no messages"
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return f"message {number} has no role of {', '.join(ROLES)}"
        if not _is_text(message.get("content")):
            return f"the content of message {number} is no text"
        if message.get("function_call"):
            return f"message {number} has a function_call; write tool_calls and the role tool"
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(map(_is_call, calls)):
            return f"message {number} has a call without a name"
    try:
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return "a text that is no Unicode"
    except (TypeError, ValueError, RecursionError):
        return "a value that JSON does not have"
    return ""


def _is_call(call: Any) -> bool:
    """Whether a value is a call with a name."""
    return isinstance(call, dict) and isinstance(_function(call).get("name"), str)


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name and arguments of a call, also of one without `function`."""
    inner = call.get("function", call)
    return inner if isinstance(inner, dict) else {}


def _is_text(said: Any) -> bool:
    """Whether the content of a message is a text, none, or a list of parts that are texts."""
    if isinstance(said, list):
        return all(
            isinstance(part, dict)
            and part.get("type", "text") == "text"
            and isinstance(part.get("text"), str)
            for part in said
        )
    return said is None or isinstance(said, str)


def content(message: Mapping[str, Any]) -> str:
    """Return the text of a message, also where it is written in parts."""
    said = message.get("content") or ""
    return "".join(part["text"] for part in said) if isinstance(said, list) else said


def calls_of(messages: Sequence[Message]) -> list[ChatCall]:
    """Return the calls of a conversation, in order, with the messages that answer them."""
    found = []
    for index, message in enumerate(messages):
        calls = message.get("tool_calls") or []
        answers = _answers(messages, index)
        for place, call in enumerate(calls):
            function = _function(call)
            answer = _answer(messages, answers, calls, place)
            name, given = str(function["name"]), arguments(function.get("arguments"))
            found.append(ChatCall(index, place, name, given, answer))
    return found


def _answers(messages: Sequence[Message], index: int) -> list[int]:
    """The tool messages right behind a message."""
    found = []
    for i in range(index + 1, len(messages)):
        if messages[i]["role"] != "tool":
            break
        found.append(i)
    return found


def _answer(
    messages: Sequence[Message],
    answers: Sequence[int],
    calls: Sequence[Mapping[str, Any]],
    place: int,
) -> int | None:
    """The message that answers a call: that of its id, or of its place where ids are not given.

    Of several calls with one id, the first has the first answer to it.
    """
    named = [i for i in answers if messages[i].get("tool_call_id") is not None]
    name = calls[place].get("id")
    if named and name is not None:
        own = [i for i in named if messages[i]["tool_call_id"] == name]
        before = sum(call.get("id") == name for call in calls[:place])
        return own[before] if before < len(own) else None
    return answers[place] if place < len(answers) else None


def arguments(given: Any) -> Any:
    """Return arguments as an object, also where they are written as JSON."""
    if isinstance(given, str):
        try:
            found = json.loads(given)
        except (ValueError, RecursionError):
            return given
        return found if isinstance(found, dict) else given
    return {} if given is None else given


def without(messages: Sequence[Message], call: ChatCall) -> list[Message]:
    """Return the messages without a call and its result.

    An assistant's message that has nothing left goes too; two of an assistant that then follow one
    another become one.
    """
    found: list[Message] = []
    for index, message in enumerate(messages):
        if index == call.answer:
            continue
        if index == call.message:
            calls = [c for i, c in enumerate(message["tool_calls"]) if i != call.place]
            message = {key: v for key, v in message.items() if key != "tool_calls"}
            if calls:
                message["tool_calls"] = calls
            elif not content(message):
                continue
        _append(found, message)
    return found


def _append(found: list[Message], message: Message) -> None:
    """Append a message, to the one before where both are an assistant's and that has no calls."""
    last = found[-1] if found else None
    both = last is not None and last["role"] == message["role"] == "assistant"
    if last is None or not both or last.get("tool_calls"):
        found.append(message)
        return
    found[-1] = {**message, "content": joined(content(last), content(message))}


def joined(first: str, second: str) -> str:
    """Return two texts as one, with a line break where no white space is between them."""
    apart = not first or not second or first[-1].isspace() or second[0].isspace()
    return f"{first}{second}" if apart else f"{first}\n{second}"
