"""Who may look at a scene: a viewer answers its own page alone, found by an address with a token.

A page of any site that is open in the browser can ask a server on this machine. It cannot know the
token; it says its own name as Origin, and as Host one of its names that points here.
"""

import contextlib
import ipaddress
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import websockets.asyncio.server as sockets
from attrs import field, frozen
from websockets.http11 import Request, Response

from kdst_core.errors import KdstError

REFUSED = "kdst view answers only under the address that it printed.\n"
TOKEN_BYTES = 18
REPLACING = threading.Lock()
"""Held while the function that starts servers is replaced."""

Answer = Callable[[sockets.ServerConnection, Request], Response | None]


@frozen
class Guard:
    """Decides over every request to a server, for pages and for sockets alike.

    host: the address that is listened on. A loopback one is asked for by loopback names alone, any
    other one by whatever name other machines know. token: the first part of the path.
    """

    host: str
    token: str = field(factory=lambda: secrets.token_urlsafe(TOKEN_BYTES), repr=False)

    def address(self, port: int) -> str:
        """Return the address of the page."""
        name = "localhost" if self.host in ("", "127.0.0.1", "0.0.0.0", "::") else self.host
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/{self.token}/"

    def path_within(self, request: Request) -> str | None:
        """Return what follows the token in the path of a request, None for one to be refused."""
        hosts, origins = (request.headers.get_all(key) for key in ("Host", "Origin"))
        if len(hosts) != 1 or len(origins) > 1 or ("Upgrade" in request.headers and not origins):
            return None
        if not self._is_own(hosts[0]) or not all(_is_page_of(hosts[0], o) for o in origins):
            return None
        path, mark, query = request.path.removeprefix("/").partition("?")
        token, _, rest = path.partition("/")
        given, right = token.encode(errors="surrogateescape"), self.token.encode()
        return f"/{rest}{mark}{query}" if secrets.compare_digest(given, right) else None

    def _is_own(self, host: str) -> bool:
        """Return whether a Host header names this server."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return bool(name) and (is_loopback(name) or not is_loopback(self.host))

    def before(self, answer: Answer | None) -> Answer:
        """Return a function that answers requests as another does, if they may be answered."""

        def answer_own(connection: sockets.ServerConnection, request: Request) -> Response | None:
            path = self.path_within(request)
            if path is None:
                return connection.respond(403, REFUSED)
            found = answer(connection, replace(request, path=path)) if answer else None
            if found is not None:
                found.headers["Referrer-Policy"] = "no-referrer"
            return found

        return answer_own


def is_loopback(name: str) -> bool:
    """Return whether a name or an address means this machine, whatever a resolver says."""
    try:
        return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_page_of(host: str, origin: str) -> bool:
    """Return whether an Origin is that of the pages which a server gives under a Host."""
    scheme, _, place = origin.lower().partition("://")
    return scheme in ("http", "https") and place == host.lower()


@contextlib.contextmanager
def standing(guard: Guard) -> Iterator[None]:
    """Put a guard before every server of sockets that is started within.

    viser has no place for a check of its own, so the function by which it starts its server is
    replaced for that moment. Raises KdstError at the end when nothing was started by it.
    """
    serve, started = sockets.serve, []

    def guarded(*args: Any, process_request: Answer | None = None, **options: Any) -> Any:
        started.append(True)
        return serve(*args, process_request=guard.before(process_request), **options)

    with REPLACING:
        sockets.serve = guarded  # type: ignore[assignment,misc]
        try:
            yield
        finally:
            sockets.serve = serve  # type: ignore[misc]
    if not started:
        raise KdstError("this viser starts its server in another way, so nobody guards the scene")
