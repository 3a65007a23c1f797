"""RoTTA as an algorithm: against a plain rendering of it, and what its memory keeps."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam

from kdst_adapt.augment import augment
from kdst_adapt.testing import batches, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_rotta import Options, adapt
from kdst_rotta.memory import Memory

ALPHA, NU, CAPACITY, EVERY = 0.3, 0.2, 8, 7


class PlainNorm(nn.Module):
    """BatchNorm with robust statistics, written out."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.mean, self.var, self.eps = norm.running_mean, norm.running_var, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.mean, self.var
        if self.training:
            b = x.mean((0, 2, 3))
            mean = (1 - ALPHA) * mean + ALPHA * b
            var = (1 - ALPHA) * var + ALPHA * ((x - b[:, None, None]) ** 2).mean((0, 2, 3))
            self.mean, self.var = mean.detach(), var.detach()
        x = (x - mean[:, None, None]) / torch.sqrt(var + self.eps)[:, None, None]
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def plain_offer(bank: list[list[Any]], x: Tensor, label: int, u: float) -> None:
    """One image offered to the memory: entries are [image, class, uncertainty, age], oldest first."""

    def heuristic(age: int, u: float) -> float:
        return 1 / (1 + math.exp(-age / CAPACITY)) + u / math.log(5)

    counts = [sum(e[1] == c for e in bank) for c in range(5)]
    if counts[label] >= CAPACITY / 5:
        searched = [e for e in bank if e[1] == label]
    elif len(bank) >= CAPACITY:
        searched = [e for c in range(5) for e in bank if e[1] == c and counts[c] == max(counts)]
    else:
        searched = []
    worst = None
    for entry in searched:
        value = heuristic(entry[3], entry[2])
        if worst is None or value >= heuristic(worst[3], worst[2]):
            worst = entry
    if worst is None or heuristic(worst[3], worst[2]) > heuristic(0, u):
        bank[:] = [e for e in bank if e is not worst]
        bank.append([x, label, u, 0])
    for entry in bank:
        entry[3] += 1


def plain_rotta(model: nn.Module, data: list[Tensor]) -> tuple[list[Tensor], list[float]]:
    """Logits of each batch and loss of each update."""
    student, _ = prepare(model, batch=False)
    student = nn.Sequential(
        *(PlainNorm(m) if isinstance(m, nn.BatchNorm2d) else m for m in student.children())
    )
    teacher = copy.deepcopy(student)
    norms = [p for p in student.parameters() if p.requires_grad]
    adam, generator = Adam(norms, 1e-2), torch.Generator().manual_seed(3)
    bank: list[list[Any]] = []
    seen, outputs, losses = 0, [], []

    def training(on: bool) -> None:
        for net in (student, teacher):
            for m in net.modules():
                if isinstance(m, PlainNorm):
                    m.training = on

    for x in data:
        training(False)
        outputs.append(teacher(x).detach())
        p = outputs[-1].softmax(1)
        for k in range(len(x)):
            u = -sum(float(q) * math.log(float(q) + 1e-6) for q in p[k])
            plain_offer(bank, x[k], int(p[k].argmax()), u)
            seen += 1
            if seen % EVERY:
                continue
            training(True)
            held = [e for c in range(5) for e in bank if e[1] == c]
            images = torch.stack([e[0] for e in held])
            age = torch.tensor([e[3] / CAPACITY for e in held], dtype=torch.float64)
            y = teacher(images).detach().softmax(1)
            s = student(augment(images, generator)).softmax(1)
            weight = torch.exp(-age) / (1 + torch.exp(-age))
            loss = (-(y * s.log()).sum(1) * weight).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
            with torch.no_grad():
                for t, q in zip(teacher.parameters(), student.parameters(), strict=True):
                    t.copy_((1 - NU) * t + NU * q)
    return outputs, losses


def small_options(**more: Any) -> Options:
    """Options under which every part of the algorithm is at work in four small batches."""
    return Options(lr=1e-2, alpha=ALPHA, nu=NU, capacity=CAPACITY, update_frequency=EVERY, **more)


def test_rotta_equals_a_plain_rendering_in_float64(tmp_path: Path) -> None:
    model = network(batch=False)
    rotta = adapt(request(model), small_options(), make_run(tmp_path))
    expected, losses = plain_rotta(model, batches(4))
    done = 0
    for x, logits in zip(batches(4), expected, strict=True):
        assert (rotta.predict(x) - logits).abs().max() < 1e-10
        done += rotta.diagnostics.updates
        assert rotta.diagnostics.scalars["loss"] == pytest.approx(losses[done - 1], abs=1e-10)
    assert done == len(losses) == 4 * 12 // EVERY
    assert len(rotta.memory) == CAPACITY
    assert (expected[-1] - prepare(model, batch=False)[0](batches(4)[-1])).abs().max() > 0.05


def test_the_batch_size_changes_nothing_until_the_first_update(tmp_path: Path) -> None:
    """Statistics are those of training and the memory, never of the batch: one image is enough."""
    x = batches(1)[0]
    whole, single = (adapt(request(network()), Options(), make_run(tmp_path)) for _ in range(2))
    alone = torch.cat([single.predict(image[None]) for image in x])
    assert (whole.predict(x) - alone).abs().max() < 1e-10
    assert whole.diagnostics.updates == 0


def test_without_steps_and_statistics_rotta_stays_the_source(tmp_path: Path) -> None:
    rotta = adapt(
        request(network()),
        Options(lr=0.0, alpha=0.0, capacity=8, update_frequency=4),
        make_run(tmp_path),
    )
    source = prepare(network(), batch=False)[0]
    for x in batches(3):
        assert (rotta.predict(x) - source(x)).abs().max() < 1e-10
        assert rotta.diagnostics.updates == 3


def test_a_full_memory_holds_every_class_alike_and_drops_the_uncertain() -> None:
    memory = Memory(capacity=6, classes=3, lambda_t=1.0, lambda_u=1.0)
    for number in range(30):
        memory.add(torch.full((1, 1, 1), number), 0, uncertainty=0.5)
    assert [len(held) for held in memory.items] == [2, 0, 0]
    assert [int(item.image) for item in memory.items[0]] == [28, 29]
    for label in (1, 2, 1, 2, 1, 2):
        memory.add(torch.zeros(1, 1, 1), label, uncertainty=0.5)
    assert [len(held) for held in memory.items] == [2, 2, 2]
    memory.add(torch.ones(1, 1, 1), 1, uncertainty=1.0)
    assert all(float(item.image) == 0 for item in memory.items[1])


def test_further_steps_learn_from_the_memory_without_adding_to_it(tmp_path: Path) -> None:
    once, twice = (
        adapt(request(network()), small_options(steps=n), make_run(tmp_path)) for n in (1, 2)
    )
    x = batches(1)[0]
    once.predict(x)
    twice.predict(x)
    assert (once.diagnostics.updates, twice.diagnostics.updates) == (1, 2)
    assert len(once.memory) == len(twice.memory)
    assert once.seen == twice.seen == len(x)


def test_state_and_reset_carry_statistics_and_memory(tmp_path: Path) -> None:
    first, second = (
        adapt(request(network()), small_options(), make_run(tmp_path)) for _ in range(2)
    )
    data = batches(4)
    fresh = [first.predict(x) for x in data[:2]]
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for x in data[2:]:
        assert torch.equal(first.predict(x), second.predict(x))
    second.reset()
    assert all(torch.equal(second.predict(x), y) for x, y in zip(data[:2], fresh, strict=True))


def test_rotta_conforms() -> None:
    check_plugin("rotta")
