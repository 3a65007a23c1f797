"""Calls carried out: once each, with timeouts, whatever a tool does."""

import threading
import time

import pytest

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.tools import runner, toolset
from kdst_tools.tools.kit import FunctionTool
from kdst_tools.tools.runner import MAX_RESULT, Answer, ToolRunner

HERE = Document("A text.")


def tool(answer, **facts) -> FunctionTool:
    return FunctionTool("Tool", "Anything.", answer, **facts)


def one(answer, **facts) -> Answer:
    (found,) = ToolRunner([tool(answer, **facts)])([("Tool", "x", HERE)])
    return found


def raises(error: BaseException):
    def answer(argument, document):
        raise error

    return answer


def test_what_a_tool_does_wrong_becomes_the_reason():
    assert one(raises(ValueError("division by zero"))) == Answer(None, "division by zero")
    assert one(raises(ValueError(""))) == Answer(None, "cannot answer")
    assert one(raises(TypeError("oh"))).reason == "raised TypeError: oh"
    assert one(raises(SystemExit(3))).reason == "raised SystemExit: 3"
    assert one(lambda a, d: None).reason == "returned NoneType, not text"
    assert one(lambda a, d: " [] -> ").reason == "returned nothing"


def test_results_lose_api_tokens_and_are_cut_visibly():
    assert one(lambda a, d: "3] [Tool(y) -> 4").result == "3 Tool(y) 4"
    long = one(lambda a, d: "word " * 1000).result
    assert long is not None
    assert len(long) <= MAX_RESULT
    assert long.endswith(" ...")


def test_a_tool_that_hangs_is_given_up_and_others_go_on():
    release = threading.Event()

    def answer(argument, document):
        if argument == "hang":
            release.wait(30)
        return argument

    started = time.monotonic()
    executor = ToolRunner([tool(answer, timeout=0.3)], workers=2)
    found = executor([("Tool", a, HERE) for a in ("hang", "b", "c", "d")])
    release.set()
    assert [a.result for a in found] == [None, "b", "c", "d"]
    assert found[0].reason == "gave no answer in 0.3 s"
    assert time.monotonic() - started < 10


def test_a_tool_that_always_hangs_stops_the_run(monkeypatch):
    monkeypatch.setattr(runner, "MAX_HUNG", 3)
    release = threading.Event()
    executor = ToolRunner([tool(lambda a, d: str(release.wait(30)), timeout=0.05)], workers=2)
    with pytest.raises(KdstError, match="the tool Tool hung 3 times"):
        executor([("Tool", str(i), HERE) for i in range(9)])
    release.set()


def test_the_same_call_is_made_once_in_a_document_unless_the_tool_is_random():
    made: list[str] = []

    def answer(argument, document):
        made.append(argument)
        return argument

    calls = [("Tool", "x", HERE)] * 3 + [("Tool", "x", Document("Another text."))]
    ToolRunner([tool(answer)])(calls)
    assert made == ["x"] * 2
    made.clear()
    ToolRunner([tool(answer, deterministic=False)])(calls)
    assert made == ["x"] * 4


def test_unknown_tools_and_empty_lists_are_answered():
    assert ToolRunner([])([("Tool", "x", HERE)]) == [Answer(None, "no such tool")]
    assert ToolRunner([tool(lambda a, d: a)])([]) == []


def test_tools_are_found_by_name_and_network_tools_are_off(monkeypatch):
    assert [t.name for t in toolset.load(["calculator", "calendar"], False)] == [
        "Calculator",
        "Calendar",
    ]
    with pytest.raises(KdstError, match="Did you mean 'calculator'"):
        toolset.load(["calculater"], False)
    with pytest.raises(KdstError, match="two tools are called Calculator"):
        toolset.load(["calculator", "calculator"], False)
    with pytest.raises(KdstError, match="at least one"):
        toolset.load([], False)
    far = tool(lambda a, d: a, network=True)
    monkeypatch.setattr(toolset, "_make", lambda name, argument: far)
    with pytest.raises(KdstError, match="allow it with --network"):
        toolset.load(["far"], False)
    assert toolset.load(["far"], True) == [far]
