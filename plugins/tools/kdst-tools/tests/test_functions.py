"""Tools made of Python functions and of JSON schemas, and how calls give them arguments."""

import datetime
import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.tools import toolset
from kdst_tools.tools.functions import from_function, from_schema, schema_of
from kdst_tools.tools.runner import ToolRunner
from kdst_tools.tools.schema import arguments, split
from kdst_tools.tools.shown import written

HERE = Document("A text.")


def convert(amount: float, unit: Literal["m", "km"], digits: int = 2, exact: bool = False) -> str:
    """Convert a length to miles.

    More that no model needs.
    """
    miles = amount * {"m": 1, "km": 1000}[unit] / 1609.344
    return f"{miles:.{digits}f}{'!' if exact else ''}"


def weekday(day: datetime.date, short: bool | None = None) -> str:
    return day.strftime("%a" if short else "%A")


def test_a_function_is_a_tool_with_its_schema_and_its_docstring():
    tool = from_function(convert)
    assert tool.name == "convert"
    assert tool.description == (
        "Convert a length to miles. The input is amount (number), unit (m or km), digits (whole number, 2"
        " where left out), exact (true or false, False where left out), apart by commas."
    )
    assert schema_of(convert) == {
        "type": "object",
        "properties": {
            "amount": {"type": "number"},
            "unit": {"type": "string", "enum": ["m", "km"]},
            "digits": {"type": "integer", "default": 2},
            "exact": {"type": "boolean", "default": False},
        },
        "required": ["amount", "unit"],
    }


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("3.5, km", "2.17"),
        ("3.5, km, 1", "2.2"),
        ("unit=km, amount=3.5, exact=yes", "2.17!"),
        ("3.5, 'km', exact = true, digits: 0", "2!"),
        ('{"amount": 3.5, "unit": "km"}', "2.17"),
    ],
)
def test_arguments_are_given_in_order_or_by_name(said: str, answer: str):
    assert from_function(convert)(said, HERE) == answer


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "needs amount, unit"),
        ("3.5", "needs unit"),
        ("3.5, ft", "unit must be one of m, km"),
        ("much, km", "amount must be a number"),
        ("nan, km", "amount must be a number"),
        ("1e999, km", "amount is too large"),
        ("1, km, 2.5", "digits must be a whole number"),
        ("1, km, 2, perhaps", "exact must be true or false"),
        ("1, km, 2, true, 5", "takes 4 values, not 5"),
        ("1, km, unit=m", "gives unit twice"),
        ("1" * 5000, "longer than 4000 characters"),
    ],
)
def test_what_does_not_fit_is_said_in_a_few_words(said: str, reason: str):
    (answer,) = ToolRunner([from_function(convert)])([("convert", said, HERE)])
    assert (answer.result, answer.reason) == (None, reason)


def test_one_text_is_the_whole_input():
    def count(text: str) -> int:
        return len(text)

    tool = from_function(count)
    assert tool("a, b, c", HERE) == "7"
    assert tool('"a, b"', HERE) == "4"
    assert tool("text=ab", HERE) == "2"
    assert tool("it's (5:30", HERE) == "10"


def test_dates_and_what_may_be_left_out():
    tool = from_function(weekday, name="Day", description="The weekday.", timeout=1.0)
    assert (tool.name, tool.timeout) == ("Day", 1.0)
    assert tool("2024-03-15", HERE) == "Friday"
    assert tool("2024-03-15, yes", HERE) == "Fri"
    assert tool("2024-03-15, none", HERE) == "Friday"
    with pytest.raises(ValueError, match="month"):
        tool("2024-15-03", HERE)


def test_dates_in_lists_are_dates_too():
    def span(days: list[datetime.date], more: Sequence[list[datetime.date]] | None = None) -> str:
        return str([*days, *(more or ())])

    tool = from_function(span)
    assert tool('{"days": ["2024-03-15"], "more": [["2024-03-16"], []]}', HERE) == str(
        [datetime.date(2024, 3, 15), [datetime.date(2024, 3, 16)], []]
    )


def test_lists_and_quotes_stay_whole():
    assert split("a, [1, 2], {\"b\": 3, \"c\": 4}, 'd, e', name=\"f, g\", it's") == [
        "a", "[1, 2]", '{"b": 3, "c": 4}', "'d, e'", 'name="f, g"', "it's",
    ]  # fmt: skip
    schema = {"properties": {"xs": {"type": "array"}, "of": {"type": ["integer", "null"]}}}
    assert arguments("[1, 2], null", schema) == {"xs": [1, 2], "of": None}
    with pytest.raises(ValueError, match="xs must be a list in JSON"):
        arguments("1, 2", schema)
    limited = {"properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}}
    for given in ("0", "10"):
        with pytest.raises(ValueError, match="n must be at"):
            arguments(given, limited)


def test_results_of_any_plain_kind_become_text():
    day = datetime.date(2024, 3, 15)
    values = ["a", 3, 2.0, 1 / 3, True, day, [1, "é"]]
    assert [written(v) for v in values] == [
        "a", "3", "2", "0.333333333333", "true", "2024-03-15", '[1, "é"]',
    ]  # fmt: skip
    with pytest.raises(ValueError, match="returned nothing"):
        written(None)
    with pytest.raises(ValueError, match="not a finite number"):
        written(float("nan"))


def test_a_schema_as_chat_models_are_given_it_makes_a_tool():
    definition = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Says the\nweather.",
            "parameters": {"type": "object", "properties": {"town": {"type": "string"}, "day": {}}},
        },
    }
    tool = from_schema(definition, lambda given: f"{given['town']}: rain")
    assert tool("Lisbon, today", HERE) == "Lisbon: rain"
    assert tool.description.startswith(
        "Says the weather. The input is town (text, may be left out)"
    )


def test_hints_that_no_call_can_spell_are_refused():
    def odd(thing: bytes) -> str:
        return ""

    def positional(a: int, /) -> str:
        return ""

    with pytest.raises(KdstError, match="no call can give thing"):
        from_function(odd)
    with pytest.raises(KdstError, match="cannot be given by its name"):
        from_function(positional)


def test_a_function_in_a_file_is_a_tool_of_the_command_line(tmp_path: Path):
    path = tmp_path / "calendar.py"
    path.write_text(
        "import re\n\n\ndef count(text: str) -> int:\n    'Count words.'\n    return len(text.split())\n\n\n"
        "def forever(text: str) -> str:\n    return str(re.match('(a+)+$', 'a' * 60 + 'b'))\n"
    )
    (tool,) = toolset.load([f"python:{path}:count"], False)
    (answer,) = ToolRunner([tool])([("count", "one two three", HERE)])
    assert answer.result == "3"
    assert tool.description == "Count words. The input is text (text)."
    with pytest.raises(KdstError, match=r"no function 'coun'\. Did you mean 'count'"):
        toolset.load([f"python:{path}:coun"], False)
    with pytest.raises(KdstError, match="no such file"):
        toolset.load([f"python:{tmp_path / 'none.py'}:count"], False)
    with pytest.raises(KdstError, match=r"write python:FILE\.py:FUNCTION"):
        toolset.load(["python:count"], False)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (np.int64(3), "3"),
        (np.float32(0.5), "0.5"),
        (np.array([1, 2]), "[1, 2]"),
        (np.bool_(True), "true"),
        (Decimal("3.50"), "3.50"),
        (Fraction(1, 3), "1/3"),
        (-0.0, "0"),
        ({"a": (1, Decimal("2.5")), 3: None}, '{"a": [1, 2.5], "3": null}'),
    ],
)
def test_numbers_of_other_libraries_are_written_without_quotes(result, text):
    assert written(result) == text


@pytest.mark.parametrize(
    "result", [object(), b"x", {1, 2}, 1j, [float("nan")], {"a": math.inf}, Decimal("NaN"), print]
)
def test_what_no_text_shows_is_no_result(result):
    with pytest.raises(ValueError, match=r"not text|not a finite number"):
        written(result)


@pytest.mark.parametrize(
    ("schema", "given", "value"),
    [
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["a", 1, None, True]}, "true", True),
        ({"enum": ["a", 1, None, True]}, "null", None),
        ({"enum": ["1", 1]}, "1", "1"),
        ({"const": 0.5}, ".50", 0.5),
        ({"allOf": [{"type": "integer"}]}, "5", 5),
        ({"type": "array", "items": {"type": "integer"}}, '[1, "2"]', [1, 2]),
        ({"type": "object", "properties": {"z": {"type": "number"}}}, '{"z": "1"}', {"z": 1}),
    ],
)
def test_values_are_those_of_the_schema(schema, given, value):
    found = arguments(given, {"properties": {"a": schema}})["a"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("schema", "given", "said"),
    [
        ({"enum": ["a", 1]}, "b", "one of a, 1"),
        ({"const": 5}, "6", "one of 5"),
        ({"type": "array", "items": {"type": "integer"}}, '[1, "x"]', r"a\[1\] must be a whole"),
        ({"type": "object", "required": ["z"], "properties": {"z": {}}}, '{"y": 1}', "a needs z"),
        ({"type": "number", "exclusiveMinimum": 0}, "0", "above 0"),
        ({"type": "string", "maxLength": 2}, "abc", "length of at most 2"),
        ({"type": "string"}, '{"a": null}', "must be a text"),
        ({"type": "integer"}, "9" * 40, "too large"),
        ({"type": "integer"}, '{"a": 1' + "0" * 400 + "}", "whole number"),
    ],
)
def test_values_that_a_schema_does_not_allow_are_named(schema, given, said):
    with pytest.raises(ValueError, match=said):
        arguments(given, {"properties": {"a": schema}})


def test_an_unknown_name_in_an_object_is_no_text_of_the_first_argument():
    two = {"properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}
    with pytest.raises(ValueError, match="takes no zzz; it takes q, n"):
        arguments('{"q": "a", "zzz": 2}', two)
    one = {"properties": {"q": {"type": "string"}}}
    assert arguments('{"zzz": 2}', one) == {"q": '{"zzz": 2}'}


def test_functions_that_no_call_can_reach_are_refused_before_any_call():
    async def later(a: int) -> int:
        return a

    def anything(*values: int) -> int:
        return sum(values)

    for function, said in (
        (later, "asynchronous"),
        (anything, "no parameter"),
        (max, "does not say"),
    ):
        with pytest.raises(KdstError, match=said):
            from_function(function)


def test_lists_and_mixed_choices_of_hints_are_checked():
    def best(scores: list[int], how: Literal["most", 2] = 2) -> str:
        return f"{max(scores)} {how!r}"

    tool = from_function(best)
    assert tool("[1, 3], 2", HERE) == "3 2"
    with pytest.raises(ValueError, match=r"scores\[0\]"):
        tool('["x"], most', HERE)


def test_a_decimal_comma_does_not_become_another_argument():
    def convert(amount: float, unit: str = "km") -> str:
        """Convert."""
        return f"{amount} {unit}"

    tool = from_function(convert)
    with pytest.raises(ValueError, match="the value '5' has no name"):
        tool("amount=3,5", Document(""))
    assert tool("3.5, unit=mi", Document("")) == "3.5 mi"


def test_what_may_be_left_out_is_asked_for_by_what_it_should_be():
    def count(words: list[str] | None = None) -> str:
        """Count."""
        return str(len(words or []))

    with pytest.raises(ValueError, match="words must be a list"):
        from_function(count)("words=a", Document(""))
