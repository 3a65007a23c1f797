"""An OpenAI-compatible embeddings service: a budget, back-off, and answers kept on disk."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from attrs import define, field
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_invert.embedders.answers import (
    Refused,
    TooLarge,
    TryAgain,
    plain,
    refusal,
    vectors,
)
from kdst_invert.embedders.call_log import CallLog

ATTEMPTS = 6
LONGEST_WAIT = 30.0
TIMEOUT = 60.0
WAIT = wait_random_exponential(multiplier=1, max=LONGEST_WAIT)
BATCH = 64
UNIT = 1e-3
"""How far from 1 the length of a normalised vector may be."""
PROBE = "a"
"""Asked for where dimension or length is needed before any other text was."""


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the texts and the key go to the address that was given, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        """Leave the answer to be refused."""


OPENER = urllib.request.build_opener(Stay)


@define
class Endpoint:
    """Asks `<address>/embeddings`; every text counts as one call of the budget, once.

    Nothing is asked before a vector is wanted. unit: whether vectors have length 1, None to see.
    """

    address: str
    model: str
    budget: int
    key: str | None = field(repr=False)
    unit: bool | None = None
    batch: int = BATCH
    dimensions: int | None = None
    prefix: str = ""
    wait: Callable[[Any], float] = field(factory=lambda: WAIT, repr=False)
    log: CallLog = field(factory=CallLog, repr=False)

    @classmethod
    def open(
        cls,
        address: str,
        model: str,
        budget: int,
        *,
        key: str | None = None,
        normalised: bool | None = None,
        batch: int = BATCH,
        dimensions: int | None = None,
    ) -> "Endpoint":
        """A service that was not asked yet; KdstError for an address that cannot be asked."""
        if urlsplit(address).scheme not in ("http", "https"):
            raise KdstError(f"--endpoint {address!r} must begin with https:// or http://")
        found = cls(address.rstrip("/"), model, budget, key, normalised)
        found.batch, found.dimensions = batch, dimensions
        return found

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model

    @property
    def calls(self) -> int:
        """Texts that the service may have embedded so far, in earlier sessions too."""
        return self.log.calls

    @property
    def dimension(self) -> int:
        """Length of a vector; asks for one text where none was asked for before."""
        return len(self._first())

    @property
    def normalised(self) -> bool:
        """Whether vectors have length 1, as the options or the first vector say."""
        if self.unit is not None:
            return self.unit
        return abs(float(torch.tensor(self._first()).norm()) - 1) < UNIT

    def _first(self) -> list[float]:
        """The first vector that was answered."""
        if not self.log.known:
            self._embed([self.prefix + PROBE])
        return next(iter(self.log.known.values()))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, D) float32; KdstError when the budget is spent or the service stays silent."""
        texts = [self.prefix + text for text in texts]
        if not texts:
            return torch.empty(0, self.dimension)
        self._embed(texts)
        found = torch.tensor([self.log.vector(t) for t in texts], dtype=torch.float32)
        return torch.nn.functional.normalize(found, dim=1) if self.normalised else found

    def keep_in(self, path: Path) -> None:
        """Keep calls and answers in a file from now on; those that it holds count."""
        self.log.keep_in(path)

    def _embed(self, texts: Sequence[str]) -> None:
        """Ask for the texts that were not answered before."""
        fresh = self.log.fresh(texts)
        self._afford(len(fresh))
        while fresh:
            part = fresh[: self.batch]
            try:
                answered = self._ask(part)
            except TooLarge as e:
                if len(part) == 1:
                    raise KdstError(f"the endpoint {self.address} refuses one text: {e}") from e
                self.batch = min(self.batch, len(part)) // 2
                continue
            self.log.answered(part, answered)
            fresh = fresh[len(part) :]

    def _afford(self, wanted: int) -> None:
        """Raise KdstError where so many texts more are not allowed."""
        if wanted and self.calls + wanted > self.budget:
            raise KdstError(
                f"the budget of --calls {self.budget} is spent: {self.calls} texts were embedded and"
                f" {wanted} more are wanted.\nWhat was found is saved; continue with the same"
                f" command, --out RUN --resume and a higher --calls"
            )

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        """One request, tried again with random, growing waits."""
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=self._pause,
            retry=retry_if_exception_type(TryAgain),
            reraise=True,
        )
        try:
            return retrying(self._counted, texts)
        except TryAgain as e:
            raise KdstError(
                f"the endpoint {self.address} did not answer after {ATTEMPTS} attempts: {e}.\n"
                "What was found is saved; continue later with the same command and --out RUN --resume"
            ) from e

    def _pause(self, state: Any) -> float:
        """Seconds to the next attempt: a random, growing wait, but never less than was asked for."""
        error = state.outcome.exception() if state.outcome is not None else None
        return max(self.wait(state), getattr(error, "after", 0.0))

    def _counted(self, texts: Sequence[str]) -> list[list[float]]:
        """One attempt, counted before it is made; what the service turned away counts no more."""
        self._afford(len(texts))
        self.log.count(len(texts))
        try:
            return self._request(texts)
        except (Refused, TooLarge):
            self.log.count(-len(texts))
            raise
        except TryAgain as e:
            if not e.counts:
                self.log.count(-len(texts))
            raise

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
            with OPENER.open(request, timeout=TIMEOUT) as answer:
                content = plain(answer, self.address)
        except urllib.error.HTTPError as e:
            raise refusal(e, self.address) from e
        except (HTTPException, OSError) as e:
            reason = getattr(e, "reason", e)
            unheard = isinstance(reason, ConnectionRefusedError)
            raise TryAgain(str(reason), counts=not unheard) from e
        found = vectors(content, len(texts), self.address)
        self._check_length(len(found[0]))
        return found

    def _check_length(self, length: int) -> None:
        """Raise KdstError for vectors of another length than was asked for or answered before."""
        known = next(iter(self.log.known.values()), None)
        wanted = self.dimensions or (None if known is None else len(known))
        if wanted is not None and length != wanted:
            what = f"--dimensions {wanted}" if self.dimensions else f"{wanted} before"
            raise KdstError(
                f"the endpoint {self.address} answered vectors of {length} numbers, not {what}.\n"
                "Give the length that the model has, or name one that can shorten its vectors"
            )
