"""An OpenAI-compatible embeddings service: a budget, back-off, and answers kept on disk."""

import base64
import hashlib
import json
import math
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from attrs import define, field
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from torch import Tensor

from kdst_core.errors import KdstError

ATTEMPTS = 6
LONGEST_WAIT = 30.0
TIMEOUT = 60.0
WAIT = wait_random_exponential(multiplier=1, max=LONGEST_WAIT)
BATCH = 64
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed."""


TOO_LARGE = 413
"""Status of a service that takes fewer texts a request."""
SPENT = ("insufficient_quota", "billing_hard_limit_reached")
"""Codes of an account without credit, for which waiting is of no use."""
LONGEST_ASKED = 300.0
"""Seconds that a service may ask to be left alone before the run stops instead."""


class TryAgain(Exception):
    """The service did not answer this time; after: seconds that it asks to be left alone."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class TooLarge(Exception):
    """The service takes fewer texts a request; said: its own words."""


@define
class Endpoint:
    """Asks `<address>/embeddings`; every text counts as one call of the budget, once."""

    address: str
    model: str
    budget: int
    key: str | None = field(repr=False)
    dimension: int = 0
    normalised: bool = False
    cache: Path | None = None
    batch: int = BATCH
    dimensions: int | None = None
    prefix: str = ""
    wait: Callable[[Any], float] = WAIT
    calls: int = 0
    known: dict[str, list[float]] = field(factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        address: str,
        model: str,
        budget: int,
        *,
        key: str | None = None,
        normalised: bool | None = None,
        cache: Path | None = None,
        batch: int = BATCH,
        dimensions: int | None = None,
    ) -> "Endpoint":
        """Ask once to learn the dimension; KdstError when the address cannot be asked."""
        if urlsplit(address).scheme not in ("http", "https"):
            raise KdstError(f"--endpoint {address!r} must begin with https:// or http://")
        found = cls(address.rstrip("/"), model, budget, key, cache=cache)
        found.batch, found.dimensions = batch, dimensions
        found.recall()
        vectors = found(["a"])
        found.dimension = vectors.shape[1]
        unit = bool(((vectors.norm(dim=1) - 1).abs() < 1e-3).all())
        found.normalised = unit if normalised is None else normalised
        return found

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, D) float32; KdstError when the budget is spent or the service stays silent."""
        texts = [self.prefix + text for text in texts]
        fresh = [t for t in dict.fromkeys(texts) if _digest(t) not in self.known]
        if self.calls + len(fresh) > self.budget:
            raise KdstError(
                f"the budget of --calls {self.budget} is spent: {self.calls} texts were embedded and"
                f" {len(fresh)} more are wanted.\nWhat was found is saved; continue with --resume"
                " and a higher --calls in a new run"
            )
        while fresh:
            part, size = fresh[: self.batch], self.batch
            try:
                answered = self._ask(part)
            except TooLarge as e:
                if len(part) == 1:
                    raise KdstError(f"the endpoint {self.address} refuses one text: {e}") from e
                self.batch = min(size, len(part)) // 2
                continue
            self.calls += len(part)
            self._keep(part, answered)
            fresh = fresh[len(part) :]
        vectors = torch.tensor([self.known[_digest(t)] for t in texts], dtype=torch.float32)
        return torch.nn.functional.normalize(vectors, dim=1) if self.normalised else vectors

    def keep_in(self, cache: Path) -> None:
        """Keep answers in a file from now on, those so far included, and know those in it."""
        so_far = dict(self.known)
        self.cache = cache
        self.recall()
        self._write({digest: v for digest, v in so_far.items() if digest not in self.known})
        self.known.update(so_far)

    def recall(self) -> None:
        """Read what an earlier session was answered, and count it as calls."""
        if self.cache is None or not self.cache.exists():
            return
        calls = self.calls
        for line in self.cache.read_text(encoding="utf-8").splitlines():
            if line.endswith("]}"):
                row = json.loads(line)
                self.known[row["sha256"]] = row["vector"]
        self.calls = max(calls, len(self.known))

    def _keep(self, texts: Sequence[str], vectors: Sequence[list[float]]) -> None:
        """Remember answers; texts are kept as digests."""
        rows = {_digest(t): v for t, v in zip(texts, vectors, strict=True)}
        self.known.update(rows)
        self._write(rows)

    def _write(self, rows: Mapping[str, list[float]]) -> None:
        """Append answers to the file, where there is one."""
        if self.cache is not None:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with self.cache.open("a", encoding="utf-8") as file:
                file.write("\n")  # a kill may have left half a line
                for text, vector in rows.items():
                    file.write(json.dumps({"sha256": text, "vector": vector}) + "\n")

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        """One request, tried again with random, growing waits."""
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=self._pause,
            retry=retry_if_exception_type(TryAgain),
            reraise=True,
        )
        try:
            return retrying(self._request, texts)
        except TryAgain as e:
            raise KdstError(
                f"the endpoint {self.address} did not answer after {ATTEMPTS} attempts: {e}.\n"
                "What was found is saved; continue later with the same command and --out RUN --resume"
            ) from e

    def _pause(self, state: Any) -> float:
        """Seconds to the next attempt: a random, growing wait, but never less than was asked for."""
        error = state.outcome.exception() if state.outcome is not None else None
        return max(self.wait(state), getattr(error, "after", 0.0))

    def _body(self, texts: Sequence[str]) -> bytes:
        """What is posted."""
        body: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        return json.dumps(body).encode()

    def _request(self, texts: Sequence[str]) -> list[list[float]]:
        """Post texts; TryAgain for a passing trouble, KdstError for one that will stay."""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.address}/embeddings", self._body(texts), headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                content = answer.read()
        except urllib.error.HTTPError as e:
            raise _refusal(e, self.address) from e
        except (urllib.error.URLError, TimeoutError, ConnectionError) as e:
            raise TryAgain(str(getattr(e, "reason", e))) from e
        return _vectors(content, len(texts), self.address)


def _refusal(error: urllib.error.HTTPError, address: str) -> Exception:
    """What a status other than success means: wait, send fewer texts, or stop."""
    said = error.read(2000).decode(errors="replace").strip()
    if any(code in said for code in SPENT):
        return KdstError(
            f"the endpoint {address} says that the account's quota is spent: {said[:200]}\n"
            "Add credit; then continue with the same command and --out RUN --resume"
        )
    if error.code == TOO_LARGE:
        return TooLarge(f"status {error.code} {said[:200]}")
    after = _seconds(error.headers.get("Retry-After"))
    if error.code in BUSY and after <= LONGEST_ASKED:
        return TryAgain(f"status {error.code}", after)
    wait = f"; it asks to wait {after:.0f} s" if after else ""
    return KdstError(f"the endpoint {address} refuses: status {error.code} {said[:200]}{wait}")


def _seconds(value: str | None) -> float:
    """Seconds of a Retry-After header, which gives them as a number or as a date; 0 without one."""
    if value is None:
        return 0.0
    try:
        found = float(value)
    except ValueError:
        try:
            found = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return max(found, 0.0) if math.isfinite(found) else 0.0


def _vectors(content: bytes, count: int, address: str) -> list[list[float]]:
    """The vectors of an answer, in the order that was asked.

    An object with `data` as that API answers, with or without `index`, numbers or base64; or a bare
    list of vectors as text-embeddings-inference answers on its own route.
    """
    try:
        answer = json.loads(content)
        rows = answer["data"] if isinstance(answer, dict) else answer
        if isinstance(answer, dict) and all("index" in row for row in rows):
            rows = sorted(rows, key=lambda row: int(row["index"]))
            if [int(row["index"]) for row in rows] != list(range(len(rows))):
                raise KdstError(f"the endpoint {address} answered an index twice or left one out")
        found = [_numbers(row["embedding"] if isinstance(row, dict) else row) for row in rows]
    except (ValueError, KeyError, TypeError, struct.error) as e:
        raise KdstError(f"the endpoint {address} answered something else than embeddings") from e
    if len(found) != count or len({len(v) for v in found}) != 1:
        raise KdstError(f"the endpoint {address} answered {len(found)} vectors for {count} texts")
    if not all(math.isfinite(x) for v in found for x in v):
        raise KdstError(
            f"the endpoint {address} answered NaN or infinity in place of a number.\n"
            "Such vectors are not used; mend the service, then continue with --out RUN --resume"
        )
    return found


def _numbers(given: Any) -> list[float]:
    """One vector: a list of numbers, or little-endian float32 in base64."""
    if isinstance(given, str):
        content = base64.b64decode(given, validate=True)
        return list(struct.unpack(f"<{len(content) // 4}f", content))
    return [float(x) for x in given]


def _digest(text: str) -> str:
    """What stands for a text in the cache, so that no text is stored twice."""
    return hashlib.sha256(text.encode()).hexdigest()
