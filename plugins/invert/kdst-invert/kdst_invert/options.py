"""What authors of methods inherit, and how the bench changes options that a method may have."""

from typing import Any

from attrs import evolve, frozen

from kdst_core.options import option


@frozen
class InvertOptions:
    """Options of a method that asks the embedder."""

    budget: int | None = option(
        None,
        "Embedder calls that each text may cost at most; 0: the embedder is never asked. Default: as many"
        " as the steps need.",
        min=0,
    )


def with_option(options: Any, name: str, value: Any) -> Any:
    """Return options of a method with one of them changed, unchanged where it has no such option."""
    return evolve(options, **{name: value}) if hasattr(options, name) else options


def with_options(options: Any, **values: Any) -> Any:
    """Return options of a method with those changed that it has."""
    for name, value in values.items():
        options = with_option(options, name, value)
    return options
