"""Whether a model of the user is what it was: hooks, functions, kinds and modes of all its modules.

Asks what a torch module shows without importing torch; weights are compared where they are known.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Marks = Mapping[str, Any]
"""What was found, by words that name it."""


def marks(model: Any) -> Marks:
    """Return everything about a torch module and its parts that a method must leave as it was."""
    return dict(_marks(model))


def touched(before: Marks, model: Any) -> str | None:
    """Return what is left on a model, in words, None when it is as it was."""
    now = marks(model)
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            return name
    return None


def _marks(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield words and values."""
    for name, module in model.named_modules():
        where = name or "the model itself"
        yield f"the kind of {where}", type(module)
        yield f"the mode of {where} (training or not)", module.training
        content = vars(module)
        for key, value in content.items():
            if key.endswith("_hooks") and value:
                yield f"a hook on {where} ({key.strip('_')})", list(map(id, value.values()))
        for key in ("forward", "__call__", "parametrizations"):
            yield f"{key} of {where}, replaced by another", id(content.get(key))
    for name, parameter in model.named_parameters():
        yield f"requires_grad of {name}", parameter.requires_grad
        yield f"a gradient left on {name}", parameter.grad is None
        hooks = [*(parameter._backward_hooks or ())]
        yield f"a hook on {name}", hooks
