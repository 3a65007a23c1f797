"""Calls of a service are counted there, by a server on this machine, across kills and resumes."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import kdst_core
from kdst_core.errors import KdstError
from kdst_invert.default.notes import notes
from kdst_invert.embedders.endpoint import OPENER
from kdst_invert.embedders.minilm import minilm

CALLS = 44


class Killed(BaseException):
    """The process ends in the middle of a request."""


@pytest.fixture
def service() -> Iterator[Any]:
    """A service of MiniLM's vectors that notes every text that it embedded."""
    embed, embedded = minilm(precision="float32"), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            content = json.dumps(embed(texts).tolist()).encode()
            embedded.extend(texts)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", embedded
    server.shutdown()
    server.server_close()


def test_calls_are_a_limit_across_kills_and_resumes_and_may_be_raised(
    service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, embedded = service
    (tmp_path / "texts.txt").write_text("\n".join(n.text for n in notes("held-out", 6)) + "\n")
    asked, urlopen = [], OPENER.open

    def killed(request: Any, timeout: float) -> Any:
        """Every second answer is lost with the process that asked."""
        found = urlopen(request, timeout=timeout)
        asked.append(request)
        if len(asked) % 2 == 0:
            raise Killed
        return found

    def go(calls: int, resume: bool = True) -> Any:
        return kdst_core.run(
            "vec2text",
            out=tmp_path / "run",
            resume=resume,
            texts=tmp_path / "texts.txt",
            embedder="endpoint",
            endpoint=address,
            endpoint_model="m",
            endpoint_batch=4,
            calls=calls,
            beam=2,
            steps=2,
            block=2,
            controls=False,
        )

    with monkeypatch.context() as patch:
        patch.setattr(OPENER, "open", killed)
        for number in range(5):
            with pytest.raises(Killed):
                go(CALLS, resume=number > 0)
            assert len(embedded) <= CALLS
    with pytest.raises(KdstError, match=f"--calls {CALLS} is spent.*\n.*higher --calls"):
        go(CALLS)
    before = len(embedded)
    assert before <= CALLS
    with pytest.raises(KdstError, match=f"--calls {CALLS} is spent"):
        go(CALLS)
    assert len(embedded) == before
    found = go(400)
    assert found.metrics["endpoint_calls"] >= len(embedded) > before
    assert found.metrics["exact.final"] > 0.5
    assert any(re.search(r"embedded \d+ of at most 400", line) for line in found.summary)
