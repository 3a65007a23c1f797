"""What embedders around another embedder share: they make vectors of the same name, length and scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from torch import Tensor


@frozen
class Wrapped:
    """An embedder around another one; what is done with texts is for each kind to say."""

    inner: Embedder

    @property
    def name(self) -> str:
        """Of the embedder inside."""
        return self.inner.name

    @property
    def dimension(self) -> int:
        """Of the embedder inside."""
        return self.inner.dimension

    @property
    def normalised(self) -> bool:
        """Of the embedder inside."""
        return self.inner.normalised


@frozen
class Unasked(Wrapped):
    """Stands for an embedder that nobody may ask."""

    def __call__(self, texts: Sequence[str]) -> "Tensor":
        """Raise KdstError: this attack must do without."""
        raise KdstError("the method asked the embedder in an attack without access to it")
