"""What embedders around another embedder share: they make vectors of the same name, length and scale."""

from attrs import frozen

from kdst_core.contracts import Embedder


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
