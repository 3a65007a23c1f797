"""Sequences of tokens that share their beginnings, read together: each shared token once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdst_toolformer.reading.forward import CausalModel, Wanted

ROOT = -1
"""The node before the first token."""


class Tree:
    """A tree of tokens: a node sees those on its way from the root, as if they were a text."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[int], after: int = ROOT) -> list[int]:
        """Write tokens behind a node, those that stand there already not again; return their nodes."""
        found = []
        for token in ids:
            node = self._children.get((after, token))
            if node is None:
                node = self._children[after, token] = len(self.ids)
                self.ids.append(token)
                self.parents.append(after)
                self.depths.append(0 if after == ROOT else self.depths[after] + 1)
            found.append(node)
            after = node
        return found

    @property
    def branches(self) -> bool:
        """Whether it is more than one line."""
        return any(parent != node - 1 for node, parent in enumerate(self.parents))

    def sees(self, size: int) -> Tensor:
        """Which nodes each node sees, (size, size); padding behind the nodes sees itself."""
        found = np.eye(size, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent != ROOT:
                found[node] |= found[parent]
        return torch.from_numpy(found)


def read(model: CausalModel, trees: Sequence[Tree], wanted: Wanted) -> Tensor:
    """Return the logits (N, V) of wanted nodes of trees, one tree a row."""
    ids, _ = model.pad([tree.ids for tree in trees])
    positions, _ = model.pad([tree.depths for tree in trees])
    if not any(tree.branches for tree in trees):
        return model.read_graph(ids, positions, None, wanted)
    sees = torch.stack([tree.sees(ids.shape[1]) for tree in trees]).to(model.device)
    return model.read_graph(ids, positions, sees, wanted)
