"""What a service of embeddings answers: vectors in one of several shapes, or why there are none."""

import base64
import gzip
import json
import math
import re
import struct
import time
import urllib.error
import zlib
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from kdst_core.errors import KdstError

BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
"""Statuses after which the same request may succeed."""
TOO_LARGE = 413
"""Status of a service that takes fewer texts a request."""
UNSURE = (408, 500, 502, 504, 520, 524)
"""Statuses that leave open whether the texts were embedded, so that they count as if they were."""
INVALID = (400, 422)
FEWER = re.compile(
    r"batch.?size|too many (?:inputs|texts)|array.{0,40}too long|at most \d+ (?:inputs|texts)", re.I
)
"""Words with which services say under another status that they take fewer texts a request."""
LARGEST = 3.4e38
"""Largest number of a vector: above it there is no float32."""
SPENT = ("insufficient_quota", "billing_hard_limit_reached")
"""Codes of an account without credit, for which waiting is of no use."""
LONGEST_ASKED = 300.0
"""Seconds that a service may ask to be left alone before the run stops instead."""


class TryAgain(Exception):
    """The service did not answer this time.

    after: seconds that it asks to be left alone. counts: whether the texts may have been embedded.
    """

    def __init__(self, reason: str, after: float = 0.0, counts: bool = True) -> None:
        super().__init__(reason)
        self.after, self.counts = after, counts


class TooLarge(Exception):
    """The service takes fewer texts a request; said: its own words."""


class Refused(KdstError):
    """The service embedded nothing, and will not if it is asked again."""


def refusal(error: urllib.error.HTTPError, address: str) -> Exception:
    """What a status other than success means: wait, send fewer texts, or stop."""
    said = error.read(2000).decode(errors="replace").strip()
    if any(code in said for code in SPENT):
        return Refused(
            f"the endpoint {address} says that the account's quota is spent: {said[:200]}\n"
            "Add credit; then continue with the same command and --out RUN --resume"
        )
    fewer = error.code in INVALID and FEWER.search(said)
    if error.code == TOO_LARGE or fewer:
        return TooLarge(f"status {error.code} {said[:200]}")
    if 300 <= error.code < 400:
        return Refused(
            f"the endpoint {address} points to {error.headers.get('Location', 'another address')}, where"
            " neither texts nor key are sent unasked.\nGive that address with --endpoint if you trust it"
        )
    after = _asked_to_wait(error.headers)
    if error.code in BUSY and after <= LONGEST_ASKED:
        return TryAgain(f"status {error.code}", after, error.code in UNSURE)
    wait = f"; it asks to wait {after:.0f} s" if after else ""
    return Refused(f"the endpoint {address} refuses: status {error.code} {said[:200]}{wait}")


def _asked_to_wait(headers: Any) -> float:
    """Seconds that the headers ask to wait, as some services say them in thousandths; 0 where none do."""
    return _seconds(headers.get("Retry-After-Ms")) / 1000 or _seconds(headers.get("Retry-After"))


def _seconds(value: str | None) -> float:
    """Seconds of a Retry-After header, which gives them as a number or as a date; 0 without one."""
    if value is None:
        return 0.0
    try:
        found = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            found = date.timestamp() - time.time()
        except ValueError:
            return 0.0
    return max(found, 0.0) if math.isfinite(found) else 0.0


def plain(answer: Any, address: str) -> bytes:
    """The content of an answer, unpacked where the service packed it."""
    content: bytes = answer.read()
    packed = getattr(answer, "headers", {}).get("Content-Encoding", "identity").strip().lower()
    if packed in ("", "identity"):
        return content
    if packed not in ("gzip", "x-gzip"):
        raise KdstError(f"the endpoint {address} packs its answers as {packed}, which is not read")
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as e:
        raise TryAgain("a damaged answer") from e


def vectors(content: bytes, count: int, address: str) -> list[list[float]]:
    """The vectors of an answer, in the order that was asked.

    An object with `data` as that API answers, with or without `index`, numbers or base64; one with
    `embeddings`; or a bare list of vectors as text-embeddings-inference answers on its own route.
    """
    try:
        answer = json.loads(content)
        if isinstance(answer, dict) and isinstance(answer.get("embeddings"), list):
            answer = answer["embeddings"]
        if isinstance(answer, dict) and "data" not in answer:
            said = json.dumps(answer.get("error", answer), ensure_ascii=False)[:200]
            raise KdstError(f"the endpoint {address} answered no embeddings but {said}")
        rows = answer["data"] if isinstance(answer, dict) else answer
        indexed = sum(isinstance(row, dict) and "index" in row for row in rows)
        if 0 < indexed < len(rows):
            raise KdstError(
                f"the endpoint {address} answered some vectors with an index and some without"
            )
        if indexed:
            rows = sorted(rows, key=lambda row: int(row["index"]))
            if [int(row["index"]) for row in rows] != list(range(len(rows))):
                raise KdstError(f"the endpoint {address} answered an index twice or left one out")
        found = [_numbers(row["embedding"] if isinstance(row, dict) else row) for row in rows]
    except (ValueError, KeyError, TypeError, struct.error) as e:
        raise KdstError(f"the endpoint {address} answered something else than embeddings") from e
    if len(found) != count:
        raise KdstError(f"the endpoint {address} answered {len(found)} vectors for {count} texts")
    lengths = sorted({len(v) for v in found})
    if len(lengths) != 1 or not lengths[0]:
        listed = " and ".join(map(str, lengths))
        raise KdstError(f"the endpoint {address} answered vectors of {listed} numbers")
    if not all(any(v) for v in found):
        raise KdstError(
            f"the endpoint {address} answered a vector of zeros, which says nothing of a text"
        )
    if not all(abs(x) <= LARGEST for v in found for x in v):
        raise KdstError(
            f"the endpoint {address} answered NaN or infinity in place of a number.\n"
            "Such vectors are not used; mend the service, then continue with --out RUN --resume"
        )
    return found


def _numbers(given: Any) -> list[float]:
    """One vector: a list of numbers, alone or in a list of its own, or little-endian float32 in base64."""
    if isinstance(given, str):
        content = base64.b64decode(given, validate=True)
        return list(struct.unpack(f"<{len(content) // 4}f", content))
    if len(given) == 1 and isinstance(given[0], list):
        given = given[0]
    return [float(x) for x in given]
