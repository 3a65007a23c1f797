"""Embedders: MiniLM's pinned weights, pooling, functions, and a service on this machine."""

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tenacity import wait_none

from kdst_core.errors import KdstError
from kdst_invert.embedders import endpoint as module
from kdst_invert.embedders.answers import vectors
from kdst_invert.embedders.batches import embedded
from kdst_invert.embedders.choose import choose, prefixed
from kdst_invert.embedders.encoder import load_encoder, same_length
from kdst_invert.embedders.endpoint import Endpoint
from kdst_invert.embedders.function import as_embedder
from kdst_invert.embedders.minilm import check_weights, minilm, package_directory
from kdst_invert.embedders.precision import precision_of, settled
from kdst_invert.inputs import InvertInputs
from kdst_invert.kit import Remembering

PAIR = ["Ann Lee, aged 40, has gout.", "A much longer text about something else entirely."]


@pytest.fixture(scope="module")
def embed() -> Any:
    return minilm(precision="float32")


def test_minilm_has_length_one_and_does_not_depend_on_its_batch(embed: Any) -> None:
    both = embed(PAIR)
    assert both.shape == (2, 384) == (2, embed.dimension)
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
    for row, text in zip(both, PAIR, strict=True):
        torch.testing.assert_close(embed([text])[0], row, atol=1e-6, rtol=0)
    assert embed([]).shape == (0, 384)


def test_mean_pooling_is_the_mean_over_all_tokens(embed: Any) -> None:
    ids = torch.tensor([embed.tokenizer(PAIR[0])["input_ids"]])
    with torch.inference_mode():
        hidden = embed.model(input_ids=ids).last_hidden_state[0]
    wanted = torch.nn.functional.normalize(hidden.mean(0), dim=0)
    torch.testing.assert_close(embed(PAIR[:1])[0], wanted, atol=1e-6, rtol=0)


def test_poolings_differ_and_are_what_they_say(embed: Any) -> None:
    folder = package_directory()
    cls = load_encoder(folder, name="x", pooling="cls", normalised=False, precision="float32")
    ids = torch.tensor([embed.tokenizer(PAIR[0])["input_ids"]])
    with torch.inference_mode():
        first = cls.model(input_ids=ids).last_hidden_state[0, 0]
    torch.testing.assert_close(cls(PAIR[:1])[0], first, atol=1e-5, rtol=0)
    assert float(torch.cosine_similarity(first, embed(PAIR[:1])[0], dim=0)) < 0.98


def test_bfloat16_keeps_the_vectors(embed: Any) -> None:
    fast = minilm(precision="bfloat16")
    like = torch.cosine_similarity(fast(PAIR), embed(PAIR), dim=1)
    assert float(like.min()) > 0.9999


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(KdstError, match="other weights than all-MiniLM-L6-v2"):
        check_weights(tmp_path / "model.safetensors")
    with pytest.raises(KdstError, match="cannot read"):
        minilm(directory=tmp_path / "nowhere")


def test_batches_hold_texts_of_one_length_once() -> None:
    rows = [[1] * n for n in (3, 1, 3, 2, 3, 1)]
    found = list(same_length(rows, 2))
    assert sorted(i for part in found for i in part) == list(range(6))
    assert all(len({len(rows[i]) for i in part}) == 1 and len(part) <= 2 for part in found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"embedder": "nothing here"}, "is neither minilm"),
        ({"embedder": "endpoint"}, "also give --endpoint URL"),
        ({"embedder": "endpoint", "endpoint": "http://x"}, "--endpoint-model NAME"),
        ({"embedder": "no_such_module:f"}, "cannot import"),
        ({"embedder": "math:nothing"}, "has no nothing"),
    ],
)
def test_an_embedder_that_cannot_be_had_is_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(KdstError, match=said):
        choose(InvertInputs(**given), "cpu")


FUNCTIONS = "some_module:constant"


@pytest.fixture
def some_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with a function whose vectors have length 1."""
    made: Any = ModuleType("some_module")
    made.constant = lambda texts: [[0.6, 0.8]] * len(texts)
    monkeypatch.setitem(sys.modules, "some_module", made)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pooling": "cls"}, "--pooling cls is for an encoder in a directory"),
        ({"embedder": FUNCTIONS, "pooling": "mean"}, "--pooling mean is for an encoder"),
        ({"embedder": "st:some", "pooling": "cls"}, "--pooling cls is for an encoder"),
        ({"endpoint": "http://x"}, "--endpoint is only heard with --embedder endpoint"),
        ({"embedder": FUNCTIONS, "dimensions": 2}, "--dimensions is only heard with"),
        ({"embedder": "a/b", "endpoint_model": "m"}, "--endpoint-model is only heard with"),
        ({"embedder": FUNCTIONS, "normalise": False}, "--normalise: the vectors of .* have length"),
    ],
)
@pytest.mark.usefixtures("some_module")
def test_no_option_is_passed_over_in_silence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(KdstError, match=said):
        choose(InvertInputs(**given), "cpu")


@pytest.mark.usefixtures("some_module")
def test_options_that_say_what_is_so_are_heard() -> None:
    found = choose(InvertInputs(embedder=FUNCTIONS, normalise=True), "cpu")
    assert (found.dimension, found.normalised) == (2, True)


def test_a_function_whose_vectors_change_their_length_is_refused() -> None:
    lengths = iter([2, 3])
    found = as_embedder(lambda texts: torch.ones(len(texts), next(lengths)), "f")
    with pytest.raises(KdstError, match="vectors of 3 numbers, 2 before"):
        found(["a"])


def test_a_folder_without_an_encoder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="no encoder"):
        choose(InvertInputs(embedder=str(tmp_path)), "cpu")


def test_a_function_is_measured_and_checked() -> None:
    found = as_embedder(lambda texts: [[3.0, 4.0]] * len(texts), "f")
    assert (found.dimension, found.normalised) == (2, False)
    with pytest.raises(KdstError, match="returned shape"):
        as_embedder(lambda texts: [[1.0]], "f")
    with pytest.raises(KdstError, match="not vectors"):
        as_embedder(lambda texts: ["a", "b"], "f")


class Service(BaseHTTPRequestHandler):
    """Answers vectors of two numbers; fails with the statuses in `script` first."""

    script: list[int]
    requests: list[list[str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(body["input"])
        status = self.script.pop(0) if self.script else 200
        rows = [
            {"index": i, "embedding": [float(len(t)), 1.0]} for i, t in enumerate(body["input"])
        ]
        content = json.dumps({"data": rows[::-1]} if status == 200 else {"error": "no"}).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Service]]:
    """A service on 127.0.0.1, asked again without waiting."""
    monkeypatch.setattr(module, "WAIT", wait_none())
    kind = type("Scripted", (Service,), {"script": [], "requests": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    kind.address = f"http://127.0.0.1:{server.server_port}/v1"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kind
    server.shutdown()
    server.server_close()


def opened(service: Any, budget: int = 100, cache: Path | None = None) -> Endpoint:
    """An endpoint at the service that waits for nothing."""
    found = Endpoint(service.address, "m", budget, None, wait=wait_none())
    if cache is not None:
        found.keep_in(cache)
    return found


def test_an_endpoint_embeds_in_order_and_asks_each_text_once(service: Any) -> None:
    found = opened(service)
    rows = found(["aaa", "b", "aaa"])
    assert rows.tolist() == [[3, 1], [1, 1], [3, 1]]
    found(["b", "cc"])
    assert service.requests == [["aaa", "b"], ["cc"]]
    assert found.calls == 3


def test_an_endpoint_is_opened_without_a_call(service: Any) -> None:
    found = Endpoint.open(service.address, "m", 5)
    assert (found.calls, service.requests) == (0, [])
    assert (found.dimension, found.normalised, found.calls) == (2, False, 1)
    other = Endpoint.open(service.address, "m", 5)
    other(["bb"])
    assert (other.dimension, other.normalised, other.calls) == (2, False, 1)


class Killed(BaseException):
    """The process ends in the middle of a request."""


def test_a_killed_request_counts(service: Any, tmp_path: Path, monkeypatch: Any) -> None:
    cache = tmp_path / "answers.jsonl"
    first = opened(service, budget=5, cache=cache)
    first(["a", "bb"])
    urlopen = module.OPENER.open

    def killed(request: Any, timeout: float) -> Any:
        urlopen(request, timeout=timeout)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.OPENER, "open", killed)
        with pytest.raises(Killed):
            first(["ccc", "dddd"])
    again = opened(service, budget=5, cache=cache)
    assert again.calls == 4
    again(["a", "ccc"])
    with pytest.raises(KdstError, match="higher --calls"):
        again(["dddd"])
    assert sum(map(len, service.requests)) == again.calls == 5


@pytest.mark.parametrize(("status", "counted"), [(503, 1), (429, 1), (500, 2), (504, 2)])
def test_texts_count_where_they_may_have_been_embedded(
    service: Any, status: int, counted: int
) -> None:
    service.script[:] = [status]
    found = opened(service)
    found(["a"])
    assert found.calls == counted


def test_passing_troubles_are_tried_again(service: Any) -> None:
    service.script[:] = [429, 503, 500]
    assert opened(service)(["a"]).shape == (1, 2)
    assert len(service.requests) == 4


def test_a_service_that_stays_silent_is_a_clear_stop(service: Any) -> None:
    service.script[:] = [503] * 10
    with pytest.raises(KdstError, match="did not answer after 6 attempts: status 503"):
        opened(service)(["a"])


def test_a_refusal_is_not_tried_again(service: Any) -> None:
    service.script[:] = [401]
    with pytest.raises(KdstError, match="refuses: status 401"):
        opened(service)(["a"])
    assert len(service.requests) == 1


def test_nobody_at_the_address_is_a_clear_stop() -> None:
    found = Endpoint("http://127.0.0.1:9", "m", 5, None, wait=wait_none())
    with pytest.raises(KdstError, match="did not answer"):
        found(["a"])
    with pytest.raises(KdstError, match="must begin with https"):
        Endpoint.open("ftp://x", "m", 5)


def test_the_budget_stops_before_a_text_too_many_is_sent(service: Any) -> None:
    found = opened(service, budget=2)
    found(["a", "b"])
    with pytest.raises(KdstError, match="budget of --calls 2 is spent"):
        found(["c"])
    assert len(service.requests) == 1


def test_what_was_answered_is_kept_and_not_paid_for_again(service: Any, tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    opened(service, cache=cache)(["a", "Ann Lee"])
    assert "Ann" not in cache.read_text()
    with cache.open("a") as file:
        file.write('{"sha256": "cut o')
    again = opened(service, cache=cache)
    assert again(["Ann Lee"]).tolist() == [[7, 1]]
    assert len(service.requests) == 1
    assert again.calls == 2
    again(["c"])
    assert opened(service, cache=cache).calls == 3


def test_an_answer_of_too_few_vectors_is_refused() -> None:
    with pytest.raises(KdstError, match="answered 0 vectors for 2 texts"):
        vectors(b'{"data": []}', 2, "x")


def test_the_embedder_of_the_checks_asks_once_and_gives_memory_of_its_own(
    hash_embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    plain = type(hash_embedder).__call__

    def counting(self: Any, texts: Sequence[str]) -> Any:
        asked.extend(texts)
        return plain(self, texts)

    monkeypatch.setattr(type(hash_embedder), "__call__", counting)
    found = Remembering(hash_embedder)
    first = found(["a", "b", "a"])
    assert torch.equal(first, plain(hash_embedder, ["a", "b", "a"]))
    first.zero_()
    assert torch.equal(found(["b", "c"]), plain(hash_embedder, ["b", "c"]))
    assert asked == ["a", "b", "c"]
    assert found([]).shape == (0, hash_embedder.dimension)


def test_embedding_many_texts_shows_how_far_it_is(
    hash_embedder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = embedded(hash_embedder, [f"text {i}" for i in range(300)], "plain")
    assert found.shape == (300, hash_embedder.dimension)
    assert "embeddings: 300/300" in capsys.readouterr().err
    embedded(hash_embedder, ["a"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("pays", "wanted"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_what_one_function_answers_and_the_encoder_says_it(
    monkeypatch: pytest.MonkeyPatch, pays: bool, wanted: str
) -> None:
    monkeypatch.setattr("kdst_invert.embedders.precision.bfloat16_pays", lambda *_, **__: pays)
    assert settled("auto", "cpu") == settled("auto", "cpu", training=True) == wanted
    assert settled("float32", "cpu") == "float32"
    assert precision_of(minilm()) == wanted
    assert precision_of(minilm(precision="float32")) == "float32"
    assert precision_of(len) is None


def test_a_prefix_goes_before_every_text() -> None:
    asked: list[str] = []

    def embed(texts: list[str]) -> list[list[float]]:
        asked.extend(texts)
        return [[1.0, 0.0]] * len(texts)

    prefixed(as_embedder(embed, "f"), "passage: ")(["a note"])
    assert asked[-1] == "passage: a note"


def test_a_prefix_does_not_hide_the_precision_that_workers_take() -> None:
    class Inner:
        name, dimension, normalised, precision = "inner", 2, False, "bfloat16"

        def __call__(self, texts: object) -> object:
            return texts

    assert precision_of(prefixed(Inner(), "passage: ")) == "bfloat16"  # type: ignore[arg-type]
