"""What the configuration of a language model says of its size, context and windows, in any layout."""

from typing import Any

CONTEXTS = ("max_position_embeddings", "max_seq_len", "n_positions", "seq_length")
"""Names of the most tokens that a model reads, in the order in which they are believed."""

UNBOUNDED = 2**30
"""Context of a model without a limit, such as one that counts distances or keeps a state."""


def of_text(model: Any) -> Any:
    """Return the part of a configuration that is about text, of models that read pictures too."""
    config = model.config
    found = getattr(config, "get_text_config", None)
    return found(decoder=True) if callable(found) else config


def context(model: Any) -> int:
    """Return the most tokens that a model reads. A window of its layers is no limit: what one layer
    sees of the tokens before it, the next sees further back."""
    return number(model, *CONTEXTS) or UNBOUNDED


def vocabulary(model: Any) -> int:
    """Return the number of tokens that a model knows."""
    return int(of_text(model).vocab_size)


def number(model: Any, *names: str) -> int:
    """Return the first of some numbers that a configuration has for all layers, 0 where it has none."""
    found = (_value(of_text(model), name) for name in names)
    return next((int(n) for n in found if isinstance(n, int) and n > 0), 0)


def _value(config: Any, name: str) -> Any:
    """A value of a configuration; None where it has none, or refuses to have one for all layers."""
    try:
        return getattr(config, name, None)
    except Exception:
        return None


def sliding_window(model: Any) -> int | None:
    """Return how many tokens its layers with a sliding window see, None where no layer has one."""
    config = of_text(model)
    found = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if not found or getattr(config, "use_sliding_window", None) is False:
        return None
    return int(found) if types is None or "sliding_attention" in types else None


def unusual(model: Any) -> str:
    """Return what a model's layers do besides attention to all tokens or to a sliding window; empty
    where that is all."""
    config = of_text(model)
    types = set(getattr(config, "layer_types", None) or ()) - {
        "full_attention",
        "sliding_attention",
    }
    if types:
        return f"layers of the kind {sorted(map(str, types))[0]}"
    fields: Any = config.to_dict() if hasattr(config, "to_dict") else {}
    for name, value in fields.items():
        inside = "window" in name and "sliding_window" not in name and "layers" not in name
        if inside and type(value) is int and value > 0:
            return f"layers with a window of their own ({name})"
    return ""
