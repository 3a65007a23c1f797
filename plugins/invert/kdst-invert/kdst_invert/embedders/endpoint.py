"""An OpenAI-compatible embeddings service: a budget, back-off, and answers kept on disk."""

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
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


class TryAgain(Exception):
    """The service did not answer this time."""


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
    ) -> "Endpoint":
        """Ask once to learn the dimension; KdstError when the address cannot be asked."""
        if urlsplit(address).scheme not in ("http", "https"):
            raise KdstError(f"--endpoint {address!r} must begin with https:// or http://")
        found = cls(address.rstrip("/"), model, budget, key, cache=cache)
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
        fresh = [t for t in dict.fromkeys(texts) if _digest(t) not in self.known]
        if self.calls + len(fresh) > self.budget:
            raise KdstError(
                f"the budget of --calls {self.budget} is spent: {self.calls} texts were embedded and"
                f" {len(fresh)} more are wanted.\nWhat was found is saved; continue with --resume"
                " and a higher --calls in a new run"
            )
        for start in range(0, len(fresh), BATCH):
            part = fresh[start : start + BATCH]
            self._keep(part, self._ask(part))
            self.calls += len(part)
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
            wait=self.wait,
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

    def _request(self, texts: Sequence[str]) -> list[list[float]]:
        """Post texts; TryAgain for a passing trouble, KdstError for one that will stay."""
        body = json.dumps({"model": self.model, "input": list(texts)}).encode()
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.address}/embeddings", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                content = answer.read()
        except urllib.error.HTTPError as e:
            if e.code in BUSY:
                raise TryAgain(f"status {e.code}") from e
            said = e.read(200).decode(errors="replace").strip()
            raise KdstError(f"the endpoint {self.address} refuses: status {e.code} {said}") from e
        except (urllib.error.URLError, TimeoutError, ConnectionError) as e:
            raise TryAgain(str(getattr(e, "reason", e))) from e
        return _vectors(content, len(texts), self.address)


def _vectors(content: bytes, count: int, address: str) -> list[list[float]]:
    """The vectors of an answer, in the order that was asked."""
    try:
        rows = sorted(json.loads(content)["data"], key=lambda row: row["index"])
        found = [[float(x) for x in row["embedding"]] for row in rows]
    except (ValueError, KeyError, TypeError) as e:
        raise KdstError(f"the endpoint {address} answered something else than embeddings") from e
    if len(found) != count or len({len(v) for v in found}) != 1:
        raise KdstError(f"the endpoint {address} answered {len(found)} vectors for {count} texts")
    return found


def _digest(text: str) -> str:
    """What stands for a text in the cache, so that no text is stored twice."""
    return hashlib.sha256(text.encode()).hexdigest()
