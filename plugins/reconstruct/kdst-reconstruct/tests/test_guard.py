"""A viewer answers its own page alone: names, origins and the token, of pages and of sockets."""

import asyncio
import http.client
from collections.abc import Iterator

import pytest
import viser
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request
from websockets.typing import Origin, Subprotocol

from kdst_core.errors import KdstError
from kdst_reconstruct.viewer import stage
from kdst_reconstruct.viewer.guard import Guard, standing

OWN = {"Host": "localhost:8080"}
SOCKET = {"Upgrade": "websocket", "Origin": "http://localhost:8080"}


def path(guard: Guard, target: str, *headers: dict[str, str]) -> str | None:
    """Return what a guard makes of a request; a header in several dictionaries is sent several times."""
    sent = Headers([pair for some in headers for pair in some.items()])
    return guard.path_within(Request(target, sent))


@pytest.mark.parametrize(
    ("target", "within"),
    [
        ("/t0ken/", "/"),
        ("/t0ken", "/"),
        ("/t0ken/a/b.js?x=/y", "/a/b.js?x=/y"),
        ("/", None),
        ("/t0ke", None),
        ("/t0kenn/", None),
        ("//t0ken/", None),
        ("/?token=t0ken", None),
        ("http://localhost:8080/t0ken/", None),
        ("/t\udcffken/", None),
        ("", None),
    ],
)
def test_only_the_token_opens_and_what_follows_it_is_passed_on(
    target: str, within: str | None
) -> None:
    guard = Guard("127.0.0.1", "t0ken")
    assert path(guard, target, OWN) == within
    assert path(guard, target, OWN, SOCKET) == within


@pytest.mark.parametrize("listens", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_only_loopback_names_are_answered(listens: str) -> None:
    guard = Guard(listens, "t")
    for name in ("localhost", "LOCALHOST:1", "127.0.0.1:9", "127.8.8.8", "[::1]:8080"):
        assert path(guard, "/t/", {"Host": name}) == "/", name
    foreign = ("evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1")
    for name in (*foreign, "", ":8080", "[::1", "evil@10.0.0.1", "localhost, evil.example"):
        assert path(guard, "/t/", {"Host": name}) is None, name
    assert path(guard, "/t/") is None
    assert path(guard, "/t/", OWN, OWN) is None


def test_other_machines_may_use_any_name_where_they_are_let_in() -> None:
    for listens in ("0.0.0.0", "192.168.0.7", "desk.lan"):
        guard = Guard(listens, "t")
        assert path(guard, "/t/", {"Host": "desk:8080"}, {"Origin": "http://desk:8080"}) == "/"
        assert path(guard, "/t/", {"Host": "desk:8080"}, {"Origin": "http://evil.example"}) is None
        assert path(guard, "/", {"Host": "desk:8080"}) is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost",
        "http://localhost:3000",
        "file://",
        "http://",
    ],
)
def test_another_origin_gets_neither_page_nor_socket(origin: str) -> None:
    guard = Guard("127.0.0.1", "t")
    assert path(guard, "/t/", OWN, {"Origin": origin}) is None
    assert path(guard, "/t/", OWN, {"Origin": origin, "Upgrade": "WebSocket"}) is None
    assert path(guard, "/t/", OWN, SOCKET, {"Origin": origin}) is None


def test_a_socket_says_where_its_page_is_from() -> None:
    assert path(Guard("127.0.0.1", "t"), "/t/", OWN, {"Upgrade": "websocket"}) is None


def test_every_token_is_another_and_is_not_shown() -> None:
    first, second = Guard("127.0.0.1"), Guard("127.0.0.1")
    assert first.token != second.token
    assert len(first.token) >= 24
    assert first.token not in repr(first)


def test_addresses_are_what_a_browser_takes() -> None:
    found = [Guard(h, "t").address(80) for h in ("127.0.0.1", "0.0.0.0", "::", "::1", "desk.lan")]
    own = "http://localhost:80/t/"
    assert found == [own, own, own, "http://[::1]:80/t/", "http://desk.lan:80/t/"]


@pytest.fixture
def served() -> Iterator[tuple[Guard, int]]:
    """A guard and the port of the server that it stands before."""
    guard = Guard("127.0.0.1")
    server = stage.start(guard, 0)
    yield guard, server.get_port()
    stage.stop(server)


def test_the_page_and_the_socket_of_a_server_need_the_token(served: tuple[Guard, int]) -> None:
    guard, port = served

    def ask(target: str, host: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", target, headers={"Host": host})
        found = connection.getresponse()
        found.read()
        return found

    page = ask(f"/{guard.token}/", f"localhost:{port}")
    assert (page.status, page.headers["Referrer-Policy"]) == (200, "no-referrer")
    assert ask("/", f"localhost:{port}").status == 403
    assert ask(f"/{guard.token}/", f"evil.example:{port}").status == 403
    assert ask(f"/{guard.token}/../../__init__.py", f"localhost:{port}").status == 404

    async def opened(target: str, origin: str) -> int:
        protocol = Subprotocol(f"viser-v{viser.__version__}")
        address = f"ws://localhost:{port}{target}"
        try:
            async with connect(address, origin=Origin(origin), subprotocols=[protocol]) as socket:
                return 101 if await socket.recv() else 0
        except InvalidStatus as e:
            return e.response.status_code

    own = f"http://localhost:{port}"
    assert asyncio.run(opened(f"/{guard.token}", own)) == 101
    assert asyncio.run(opened("/", own)) == 403
    assert asyncio.run(opened(f"/{guard.token}", "http://evil.example")) == 403


def test_a_server_that_starts_past_the_guard_is_refused() -> None:
    with pytest.raises(KdstError, match="nobody guards"), standing(Guard("127.0.0.1")):
        pass
