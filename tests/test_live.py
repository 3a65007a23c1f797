"""Claims about how live objects are named in a configuration."""

from typing import Any

import pytest

from kdst_core import live

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")


def network(seed: int) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(6), torch.zeros(2, 3)),
        (torch.zeros(3), torch.zeros(3).half()),
        (torch.zeros(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)),
        (np.arange(6), np.arange(1, 7)),
        ((np.zeros(3), np.zeros(2)), (np.zeros(3), np.ones(2))),
        (["a text"], ["another"]),
        (network(0), network(1)),
        (torch.zeros(()), torch.ones(())),
    ],
)
def test_other_content_is_another_name(one: Any, other: Any) -> None:
    assert live.describe(one) != live.describe(other)
    assert live.digest(one)
    assert live.describe(one) == live.describe(one)


def test_the_same_content_is_the_same_name() -> None:
    assert live.describe(network(0)) == live.describe(network(0))
    strided = torch.arange(12.0).reshape(3, 4).T
    assert live.digest(strided) == live.digest(strided.contiguous())


@pytest.mark.parametrize(
    "value",
    [
        object(),
        (np.zeros(3), object()),
        lambda texts: texts,
        torch.zeros(3, device="meta"),
        np.array([object()]),
        torch.nn.ReLU(),
        torch.nn.LazyLinear(3),
    ],
)
def test_what_shows_no_content_is_named_by_its_type(value: Any) -> None:
    assert live.digest(value) == ""
    assert live.describe(value) == f"<{type(value).__module__}.{type(value).__qualname__}>"


def test_of_a_long_array_blocks_from_end_to_end_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WHOLE", 1000)
    monkeypatch.setattr(live, "BLOCK", 40)
    array = np.zeros(1000)
    before = live.digest(array)
    for place in (0, 999):
        changed = array.copy()
        changed[place] = 1
        assert live.digest(changed) != before
