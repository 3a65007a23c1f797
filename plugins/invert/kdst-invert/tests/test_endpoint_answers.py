"""Answers of services of embeddings: shapes, limits of a request, waits, and what is refused."""

import base64
import gzip
import io
import json
import ssl
import struct
import threading
import urllib.error
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

        monkeypatch.setattr(module.OPENER, "open", urlopen)
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


class Answers(io.BytesIO):
    """An answer with headers."""

    def __init__(self, content: bytes, **headers: str) -> None:
        super().__init__(content)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def answered(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> Endpoint:
    """An endpoint that answers these in turn."""
    left = list(answers)

    def opened(request: Any, timeout: float) -> Any:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(module.OPENER, "open", opened)
    return Endpoint("http://x/v1", "m", 100, None, wait=wait_none())


def test_packed_answers_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(json.dumps([[1.0, 2.0]]).encode())
    broken, whole = (Answers(part, Content_Encoding="gzip") for part in (packed[:-9], packed))
    endpoint = answered(monkeypatch, broken, whole)
    assert endpoint(["a"]).tolist() == [[1.0, 2.0]]
    assert endpoint.calls == 2
    with pytest.raises(KdstError, match="packs its answers as br"):
        answered(monkeypatch, Answers(b"x", Content_Encoding="br"))(["a"])


def test_an_error_that_comes_as_success_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Answers(json.dumps({"error": {"message": "no such model"}}).encode())
    with pytest.raises(KdstError, match=r"answered no embeddings but .*no such model"):
        answered(monkeypatch, said)(["a"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [([[1.0, 2.0, 3.0]], "vectors of 3 numbers, not 2 before"), ([[]], "vectors of 0 numbers")],
)
def test_vectors_of_another_length_are_refused(
    monkeypatch: pytest.MonkeyPatch, rows: list[Any], said: str
) -> None:
    endpoint = answered(monkeypatch, Answers(b"[[1.0, 2.0]]"), Answers(json.dumps(rows).encode()))
    endpoint(["a"])
    with pytest.raises(KdstError, match=said):
        endpoint(["b"])


def test_a_service_that_does_not_shorten_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = answered(monkeypatch, Answers(b"[[1.0, 2.0, 3.0]]"))
    endpoint.dimensions = 2
    with pytest.raises(KdstError, match="3 numbers, not --dimensions 2"):
        endpoint(["a"])


def test_a_connection_that_breaks_in_an_answer_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = ssl.SSLError("record layer failure")
    endpoint = answered(monkeypatch, broken, Answers(b"[[1.0, 2.0]]"))
    assert endpoint(["a"]).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_texts_and_key_follow_no_redirection(status: int) -> None:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.path)
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/other")  # type: ignore[attr-defined]
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "m", 9, "key")
        with pytest.raises(KdstError, match=r"points to http://127\.0\.0\.1:\d+/other"):
            endpoint(["a"])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert seen == ["/v1/embeddings"]
    assert endpoint.calls == 0


@pytest.mark.parametrize("shape", ["embeddings", "nested"])
def test_further_shapes_of_answers_are_read(ask: Any, shape: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        if shape == "embeddings":
            return {"embeddings": rows_of(body)}
        return [{"index": i, "embedding": [row]} for i, row in enumerate(rows_of(body))]

    assert ask(answer)[0](["a", "abc"]).tolist() == [[1.0, 1.0], [3.0, 1.0]]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (422, "batch size 4 > maximum allowed batch size 2"),
        (400, "too many inputs: 4, at most 2"),
        (400, "The input array is too long"),
    ],
)
def test_other_words_for_too_many_texts_are_understood(ask: Any, status: int, said: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        if len(body["input"]) > 2:
            raise refused(status, said)
        return rows_of(body)

    endpoint, _ = ask(answer)
    assert endpoint(["a", "bb", "ccc", "dddd"])[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert endpoint.calls == 4


def test_another_invalid_request_is_not_tried_in_parts(ask: Any) -> None:
    def answer(body: dict[str, Any]) -> Any:
        raise refused(400, "unknown model m")

    endpoint, bodies = ask(answer)
    with pytest.raises(KdstError, match="refuses: status 400 unknown model m"):
        endpoint(["a", "bb"])
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"index": 1, "embedding": [1.0, 2.0]}, {"embedding": [2.0, 1.0]}], "and some without"),
        ([{"embedding": [0.0, 0.0]}, {"embedding": [2.0, 1.0]}], "a vector of zeros"),
        ([{"embedding": [1e39, 0.0]}, {"embedding": [2.0, 1.0]}], "NaN or infinity"),
    ],
)
def test_vectors_that_say_nothing_are_refused(ask: Any, rows: list[Any], said: str) -> None:
    with pytest.raises(KdstError, match=said):
        ask(lambda body: {"data": rows})[0](["a", "b"])


def test_waits_in_thousandths_and_dates_without_a_zone_are_kept(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def answer(body: dict[str, Any]) -> Any:
        if not asked:
            raise refused(429, "slow down", Retry_After_Ms="1500")
        if len(asked) == 1:
            raise refused(529, "overloaded", Retry_After="Thu, 01 Jan 1970 00:00:00 -0000")
        return rows_of(body)

    pause = Endpoint._pause
    monkeypatch.setattr(Endpoint, "_pause", lambda *a: asked.append(pause(*a)) or 0.0)
    assert len(ask(answer)[0](["a"])) == 1
    assert asked == [1.5, 0.0]
