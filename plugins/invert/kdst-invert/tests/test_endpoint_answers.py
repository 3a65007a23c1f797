"""Answers of services of embeddings: shapes, limits of a request, waits, and what is refused."""

import base64
import io
import json
import struct
import urllib.error
from collections.abc import Callable
from email.message import Message
from typing import Any

import pytest
from tenacity import wait_none

from kdst_core.errors import KdstError
from kdst_invert.embedders import endpoint as module
from kdst_invert.embedders.endpoint import Endpoint

Answer = Callable[[dict[str, Any]], Any]


def rows_of(body: dict[str, Any]) -> list[list[float]]:
    return [[float(len(t)), 1.0] for t in body["input"]]


def refused(status: int, said: str, **headers: str) -> urllib.error.HTTPError:
    found = Message()
    for name, value in headers.items():
        found[name.replace("_", "-")] = value
    return urllib.error.HTTPError("http://x", status, "no", found, io.BytesIO(said.encode()))


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], Any]:
    """`ask(answer)`: an endpoint that is answered by a function of the body, and the bodies."""

    def start(answer: Answer) -> tuple[Endpoint, list[dict[str, Any]]]:
        bodies: list[dict[str, Any]] = []

        def urlopen(request: Any, timeout: float) -> io.BytesIO:
            bodies.append(json.loads(request.data))
            return io.BytesIO(json.dumps(answer(bodies[-1])).encode())

        monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
        return Endpoint("http://x/v1", "m", 100, None, wait=wait_none()), bodies

    return start


def test_fewer_texts_are_sent_where_a_service_finds_them_too_many(ask: Any) -> None:
    def answer(body: dict[str, Any]) -> Any:
        if len(body["input"]) > 3:
            raise refused(413, "batch size > 3")
        return rows_of(body)

    endpoint, bodies = ask(answer)
    found = endpoint([str(10**i) for i in range(10)])
    assert found[:, 0].tolist() == [float(i + 1) for i in range(10)]
    assert endpoint.calls == 10
    assert len(bodies) < 10


@pytest.mark.parametrize("kind", ["bare", "no index", "base64"])
def test_shapes_of_answers_are_read(ask: Any, kind: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        rows: list[Any] = rows_of(body)
        if kind == "bare":
            return rows
        if kind == "base64":
            rows = [base64.b64encode(struct.pack("<2f", *row)).decode() for row in rows]
        return {"data": [{"embedding": row} for row in rows]}

    assert ask(answer)[0](["a", "abc"]).tolist() == [[1.0, 1.0], [3.0, 1.0]]


def test_an_index_that_comes_twice_is_refused(ask: Any) -> None:
    endpoint, _ = ask(lambda b: {"data": [{"index": 0, "embedding": r} for r in rows_of(b)]})
    with pytest.raises(KdstError, match="index twice"):
        endpoint(["a", "b"])


def test_nan_is_no_number(ask: Any) -> None:
    with pytest.raises(KdstError, match="NaN"):
        ask(lambda body: [[float("nan"), 1.0]])[0](["a"])


def test_a_spent_quota_is_asked_once(ask: Any) -> None:
    def answer(body: dict[str, Any]) -> Any:
        raise refused(429, '{"error": {"code": "insufficient_quota"}}')

    endpoint, bodies = ask(answer)
    with pytest.raises(KdstError, match="quota"):
        endpoint(["a"])
    assert len(bodies) == 1


def test_retry_after_is_the_least_wait(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    troubles = [refused(429, "slow down", Retry_After="7")]

    def answer(body: dict[str, Any]) -> Any:
        if troubles:
            raise troubles.pop()
        return rows_of(body)

    ask(answer)[0](["a"])
    assert slept == [7.0]


def test_dimensions_reach_the_service(ask: Any) -> None:
    endpoint, bodies = ask(rows_of)
    endpoint.dimensions = 2
    endpoint(["a"])
    assert bodies[0]["dimensions"] == 2
