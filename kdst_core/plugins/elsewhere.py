"""Packages that lie in environments of their own: where their methods are carried out.

A method of such a package is listed and its options are read here; its code runs by another interpreter,
beside other versions of the libraries.
"""

from attrs import frozen


@frozen
class Place:
    """An environment of its own. python: its interpreter. digest: of what is installed in it."""

    python: str
    digest: str


PLACES: dict[str, Place] = {}
"""Where methods of packages are carried out that is not here, for as long as this process lives."""
