"""One audit: a store that was read and recognised, attacked by all who may hold it, and reported."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn.functional import normalize

from kdst_core.bench.contract import Job, Outcome
from kdst_core.contracts import Embedder
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run
from kdst_invert.attackers.linear import FEWEST_PAIRS, ridge
from kdst_invert.attackers.words import read_nearest, read_words
from kdst_invert.embedders.batches import embedded
from kdst_invert.loop import Attacker
from kdst_invert.measures.scores import final_texts
from kdst_invert.private import private
from kdst_invert.store_audit import inference, leakage, protection
from kdst_invert.store_audit.identify import Identity
from kdst_invert.store_audit.inputs import AuditInputs
from kdst_invert.store_audit.membership import Question
from kdst_invert.store_audit.outcome import metrics
from kdst_invert.store_audit.sentences import summary
from kdst_invert.stores.table import Store


@frozen
class Found:
    """What one attacker who knows so many texts read of the attacked rows."""

    attacker: str
    known: int
    texts: Sequence[str]


@frozen
class PreparedAudit:
    """An audit with its store read, checked and recognised.

    own: the embedder that the inverter reads. identity: of the store's embedder, None where no candidate
    fits. related: correlation of rows with their texts where none fits.
    """

    job: Job
    device: str
    store: Store
    texts: Sequence[str]
    own: Embedder
    identity: Identity | None
    related: float | None
    values: leakage.Values
    notes: Sequence[str] = field(factory=tuple)

    @property
    def inputs(self) -> AuditInputs:
        """The audit's options."""
        inputs: AuditInputs = self.job.inputs
        return inputs

    def execute(self, run: Run) -> Outcome:
        """Carry out the audit; only the owner may read its files."""
        with private(run.dir):
            return self._execute(run)

    def _execute(self, run: Run) -> Outcome:
        """Attack, infer, protect, and write what was found."""
        vectors = torch.from_numpy(self.store.vectors)
        attacked, others = self._drawn()
        tried = [k for k in sorted({0, *self.inputs.known}) if k <= len(others)]
        found = self._attack(run, vectors, attacked, others, tried)
        originals = [self.texts[i] for i in attacked]
        values = [self.values[i] for i in attacked]
        rows = [
            {
                "attacker": f.attacker,
                "known": f.known,
                "leaks": leakage.as_json(leakage.leaks(f.texts, originals, values)),
            }
            for f in found
        ]
        most = others[: tried[-1]]
        table = {
            "kind": self.store.kind,
            "rows": len(self.texts),
            "dimension": vectors.shape[1],
            "attacked": len(attacked),
            "known": tried,
            "not_tried": [k for k in self.inputs.known if k not in tried],
            "identity": None if self.identity is None else self.identity.sentence,
            "same_embedder": self._same(),
            "leaks": rows,
            "membership": Question(self.texts, self.identity, self.own).membership(
                vectors, attacked, most
            ),
            "attributes": self._attributes(vectors, attacked, most),
            "protection": protection.table(
                vectors, self.texts, attacked, most, torch.Generator().manual_seed(run.seed + 1)
            ),
            "examples": self._examples(found, attacked),
            "notes": list(self.notes),
            "shown": self.inputs.show_texts,
        }
        write_atomically(run.artifacts / "audit.json", json.dumps(table))
        return Outcome(
            metrics(table),
            {"audit.json": "artifacts/audit.json"},
            self._protocol(vectors),
            warnings=[*self.store.said, *self.notes],
            summary=summary(table),
        )

    def _drawn(self) -> tuple[list[int], list[int]]:
        """Rows that are attacked, and the others in the order in which an attacker comes to know them."""
        generator = torch.Generator().manual_seed(self.job.seed)
        order = torch.randperm(len(self.texts), generator=generator).tolist()
        count = min(self.inputs.count, len(order) // 2)
        attacked = order[:count]
        read = {self.texts[i] for i in attacked}
        return attacked, [i for i in order[count:] if self.texts[i] not in read]

    def _same(self) -> bool:
        """Whether the store's embedder is the one that the inverter reads."""
        found = self.identity
        return found is not None and not found.prefix and found.embedder.name == self.own.name

    def _attack(
        self,
        run: Run,
        vectors: Tensor,
        attacked: Sequence[int],
        others: Sequence[int],
        tried: Sequence[int],
    ) -> list[Found]:
        """What every attacker reads with every number of known texts."""
        inverter = Attacker(self.job.method, self.own, run, self.inputs.batch_texts)
        mine, found = vectors[attacked], []
        for k in tried:
            rows = list(others[:k])
            texts = [self.texts[i] for i in rows]
            seen = self._seen(vectors[rows], texts, mine)
            if seen is not None:
                found.append(Found("inverter", k, self._invert(inverter, k, seen)))
            if k:
                found.append(Found("nearest", k, read_nearest(vectors[rows], texts, mine)))
            if k >= FEWEST_PAIRS:
                found.append(Found("words", k, read_words(vectors[rows], texts, mine)))
        return found

    def _seen(self, known: Tensor, texts: Sequence[str], mine: Tensor) -> Tensor | None:
        """Attacked rows in the inverter's space, None where there is no way into it.

        Vectors of its own embedder are there already, whatever is known; others are brought there by a
        linear map from the known pairs (few-shot alignment, Chen et al. 2025).
        """
        if self._same():
            return normalize(mine, dim=1) if not len(texts) else None
        if len(texts) < FEWEST_PAIRS:
            return None
        return normalize(ridge(known, embedded(self.own, texts))(mine), dim=1)

    def _invert(self, inverter: Attacker, k: int, seen: Tensor) -> list[str]:
        """What the method reads of vectors in its own space."""
        options, label = self.job.options, f"{k} known texts"
        attacked = inverter.invert(f"known-{k}", seen, options, label)
        return final_texts(attacked.file, attacked.rows)

    def _attributes(
        self, vectors: Tensor, attacked: Sequence[int], most: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Columns of few values that the vectors give away."""
        if len(most) < FEWEST_PAIRS:
            return []
        found = inference.attributes(
            vectors[list(most)], vectors[attacked], self.store.columns, most, attacked
        )
        names = [a.name for a in inference.Attribute.__attrs_attrs__]
        return [{n: getattr(a, n) for n in names} | {"found": a.found} for a in found]

    def _examples(self, found: Sequence[Found], attacked: Sequence[int]) -> list[dict[str, Any]]:
        """The first attacked rows beside what each attacker with most known texts read of them."""
        last = {f.attacker: f for f in found}
        return [
            {
                "row": row,
                "original": self.texts[row],
                "read": {f"{name}, {f.known} known": f.texts[n] for name, f in last.items()},
            }
            for n, row in enumerate(attacked[:6])
        ]

    def _protocol(self, vectors: Tensor) -> Mapping[str, Any]:
        """Everything that decides what was measured."""
        found = self.identity
        return {
            "store_kind": self.store.kind,
            "rows": len(vectors),
            "dimension": vectors.shape[1],
            "recognised": None if found is None else found.embedder.name,
            "prefix": None if found is None else found.prefix,
            "related": self.related,
            "kinds": {k: sum(len(row.get(k, ())) for row in self.values) for k in _kinds(self)},
        }


def _kinds(audit: PreparedAudit) -> list[str]:
    """Kinds of personal data in the store."""
    return list(dict.fromkeys(k for row in audit.values for k in row))
