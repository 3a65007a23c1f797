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


_places: dict[str, Place] = {}


def put(package: str, place: Place) -> None:
    """Have a package's methods carried out elsewhere, for as long as this process lives."""
    _places[package] = place


def place_of(package: str) -> Place | None:
    """Return where a package's methods are carried out, None where it is here."""
    return _places.get(package)
