"""The conformance checks of a method that inverts, on a few notes and two steps."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch

from kdst_authors.testing import GIVEN, given_only, make_run
from kdst_core.bench.contract import Check
from kdst_core.contracts import Inversion
from kdst_core.plugins.method import Method
from kdst_invert.default.notes import notes
from kdst_invert.kit import ROWS, small_embedder, small_inversion, small_vectors
from kdst_invert.texts import Originals

CLOSE = 1e-4
SHAPES = "a text for each row, block after block"
"""Name of the check that others follow from."""


def invert_checks(method: Method) -> Iterator[Check]:
    """Yield the checks; each inverts anew, and those that follow name their cause."""
    yield Check(SHAPES, lambda: _shapes(method))
    yield Check(GIVEN, lambda: _given_only(method), [SHAPES])
    sound = (SHAPES, GIVEN)
    yield Check("the vectors are unchanged", lambda: _unchanged(method), sound)
    yield Check("the cosine never falls", lambda: _rises(method), sound)
    yield Check("the cosine is that of the text", lambda: _true_cosine(method), sound)
    yield Check("a row does not depend on the others", lambda: _apart(method), sound)


def _invert(method: Method, blocks: Sequence[range] | None = None) -> list[Inversion]:
    """Call the hook with default options."""
    with tempfile.TemporaryDirectory() as directory:
        run = make_run(Path(directory))
        return small_inversion(method, method.description.options(), run, blocks)


def _last(found: Sequence[Inversion]) -> list[str]:
    """The final text of every row."""
    return [text for i in found if i.last for text in i.texts]


def _shapes(method: Method) -> None:
    """Every block ends once, and its steps count from 0."""
    blocks = [range(3), range(3, ROWS)]
    found = _invert(method, blocks)
    assert all(isinstance(i, Inversion) for i in found), "the hook must yield Inversions"
    assert [i.rows for i in found if i.last] == blocks, "blocks are not ended in their order"
    for rows in blocks:
        mine = [i for i in found if i.rows == rows]
        assert [i.step for i in mine] == list(range(len(mine))), "steps do not count from 0"
        for i in mine:
            assert len(i.texts) == len(rows), "there is not one text a row"
            assert i.cosine.shape == (len(rows),), "there is not one cosine a row"
        calls = [i.embedder_calls for i in mine]
        assert calls == sorted(calls), "embedder calls of a block fall"


def _given_only(method: Method) -> None:
    """With other originals behind the same vectors every text is the same."""
    given_only(partial(_inverted, method), "originals")


def _inverted(method: Method, number: int) -> str:
    """Invert while the texts behind the vectors lie open; return a digest of all that was returned."""
    texts = [note.text for note in notes("held-out", ROWS, 5 * number)]
    originals = Originals(texts)
    found = _invert(method)
    content = [[i.step, list(i.texts), i.cosine.tolist()] for i in found]
    assert len(_last(found)) == len(originals.texts), "there is not one text a row"
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _rises(method: Method) -> None:
    """A later step is never worse."""
    found = _invert(method)
    for before, after in pairwise(found):
        assert bool((after.cosine >= before.cosine - 1e-6).all()), "the cosine of a row falls"


def _true_cosine(method: Method) -> None:
    """The cosine reported is that of the text's embedding."""
    last = _invert(method)[-1]
    again = torch.cosine_similarity(small_embedder()(list(last.texts)), small_vectors(), dim=1)
    apart = float((again - last.cosine.float()).abs().max())
    assert apart < CLOSE, f"the cosine is off by {apart:.2g}"


def _apart(method: Method) -> None:
    """Blocks of one row give the texts of one block."""
    together = _last(_invert(method))
    alone = _last(_invert(method, [range(i, i + 1) for i in range(ROWS)]))
    assert together == alone, "a row's text depends on the other rows of its block"


def _unchanged(method: Method) -> None:
    """The request's vectors are the ones from before."""
    before = small_vectors().clone()
    _invert(method)
    assert torch.equal(before, small_vectors()), "the method changed the vectors"
