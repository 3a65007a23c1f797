"""The audit as a bench: it reads and recognises a store, and lets a method invert it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from kdst_core.bench.contract import Job
from kdst_core.bench.device import choose as choose_device
from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_core.reports.blocks import ReportContent
from kdst_invert.bench import InvertBench
from kdst_invert.store_audit.inputs import AuditInputs

FEWEST = 20
"""Rows below which nothing can be told from chance."""


class AuditBench(InvertBench):
    """What `kdst audit` runs a method on."""

    inputs: type = AuditInputs
    live: frozenset[str] = frozenset()

    def prepare(self, job: Job) -> Any:
        """Read the store, recognise its embedder, and check that its rows belong to its texts."""
        import torch

        from kdst_invert.embedders.minilm import minilm
        from kdst_invert.store_audit import identify, personal
        from kdst_invert.store_audit.run import PreparedAudit
        from kdst_invert.stores.open import open_store
        from kdst_invert.stores.table import Choice

        inputs: AuditInputs = job.inputs
        device = choose_device(job.device)
        if inputs.data is None:
            raise KdstError("an audit needs a store: kdst audit STORE")
        store = open_store(
            inputs.data, Choice(inputs.collection, inputs.vector_column, inputs.text_column)
        )
        texts = _texts(inputs, store.texts, len(store.vectors), store.said)
        if len(texts) < FEWEST:
            raise KdstError(
                f"{inputs.data} has {len(texts)} rows with texts; an audit needs at least {FEWEST}"
            )
        if (different := len(set(texts))) < FEWEST:
            raise KdstError(
                f"{inputs.data} has {different} different texts; an audit needs at least {FEWEST}, since"
                " what one text gives away is not told from chance by its copies"
            )
        own = minilm(device)
        vectors = torch.from_numpy(store.vectors)
        identity = identify.identify(vectors, texts, _candidates(inputs, device, own))
        generator = torch.Generator().manual_seed(job.seed)
        related = None if identity else identify.check_related(vectors, texts, own, generator)
        values, notes = personal.values_of(texts, store.columns, inputs.personal)
        return PreparedAudit(job, device, store, texts, own, identity, related, values, notes)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of an audit."""
        from kdst_invert.store_audit.report import content

        return content(result, directory)


def _texts(
    inputs: AuditInputs, kept: Sequence[str] | None, rows: int, said: Sequence[str]
) -> Sequence[str]:
    """The texts of the rows: the store's, or those of a file; KdstError without any."""
    if inputs.texts is None:
        if kept is None:
            raise KdstError(
                f"{inputs.data} holds no texts, and what is read can only be measured beside them.\n"
                "Give them in the order of the rows: --texts FILE"
            )
        return kept
    from kdst_invert.files import read_texts

    found = read_texts(inputs.texts).texts
    if len(found) != rows:
        left = f" ({'; '.join(said)})" if said else ""
        raise KdstError(f"{inputs.data} has {rows} rows{left}, {inputs.texts} {len(found)} texts")
    return found


def _candidates(inputs: AuditInputs, device: str, own: Embedder) -> list[Embedder]:
    """The embedders that are tried; the inverter's own is always among them."""
    from kdst_invert.embedders.choose import choose
    from kdst_invert.inputs import InvertInputs

    names = [n.strip() for n in inputs.embedder.split(",") if n.strip()]
    if "endpoint" in names:
        raise KdstError(
            "an audit sends no text to a service; embed some texts there yourself and give the function"
            " that does: --embedder module:function"
        )
    plain = InvertInputs()
    found = [choose(evolve(plain, embedder=n), device) for n in names if n != "minilm"]
    return [own, *found]


bench = AuditBench()
"""The bench of `kdst audit`."""
