"""cotta does what it claims, and conforms."""

import copy
from pathlib import Path

import pytest
import torch
from torch.optim import Adam

from kdst_adapt.augment import augment
from kdst_adapt.checks import small_batches, small_request
from kdst_adapt.testing import batches, network, prepare, request
from kdst_authors.testing import make_run, parametrize_checks
from kdst_core.bench.contract import Check
from kdst_cotta import Options, adapt


@pytest.mark.parametrize("unsure", [2, 4])
def test_cotta_equals_algorithm_1_written_out_in_float64(tmp_path: Path, unsure: int) -> None:
    """The first batches are augmented. At least one must be, or the student agrees with the teacher
    and only rounding moves it."""
    source = network()
    sureness = [prepare(source)[0](x).softmax(1).amax(1).mean().item() for x in batches(4)]
    order = sorted(range(4), key=sureness.__getitem__)
    stream = [batches(4)[i] for i in order]
    threshold = 1.0 if unsure == 4 else (sureness[order[1]] + sureness[order[2]]) / 2
    options = Options(
        lr=0.01, alpha=0.9, restore=0.3, augmentations=3, threshold=threshold, flip=True
    )
    ours = adapt(request(source), options, make_run(tmp_path))
    generator = torch.Generator().manual_seed(3)
    student = prepare(source)[0].requires_grad_(True)
    teacher, start = copy.deepcopy(student), copy.deepcopy(student)
    optimizer = Adam(student.parameters(), 0.01)
    augmented = 0
    for x in stream:
        with torch.no_grad():
            if start(x).softmax(1).max(1).values.mean() < threshold:
                passes = [teacher(augment(x, generator, flip=True)) for _ in range(3)]
                y = sum(passes[1:], passes[0]) / 3
            else:
                y = teacher(x)
        loss = -(y.softmax(1) * student(x).softmax(1).log()).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for mean, p in zip(teacher.parameters(), student.parameters(), strict=True):
                mean.copy_(0.9 * mean + 0.1 * p)
            for p, p0 in zip(student.parameters(), start.parameters(), strict=True):
                m = torch.rand(p.shape, generator=generator, dtype=torch.float64) < 0.3
                p.copy_(m * p0 + ~m * p)
        assert torch.allclose(ours.predict(x), y, rtol=0, atol=1e-10)
        assert ours.diagnostics.scalars["loss"] == pytest.approx(loss.item(), abs=1e-10)
        augmented += int(ours.diagnostics.scalars["augmented"])
    assert augmented == unsure


def test_restoring_every_weight_leaves_the_student_at_the_source(tmp_path: Path) -> None:
    predictor = adapt(small_request(), Options(restore=1.0, lr=0.1), make_run(tmp_path))
    for x in small_batches(3):
        predictor.predict(x)
    pairs = zip(predictor.parameters, predictor.start, strict=True)
    assert all(torch.equal(p, start) for p, start in pairs)


def test_a_share_of_weights_is_restored_close_to_the_probability(tmp_path: Path) -> None:
    predictor = adapt(
        small_request(), Options(restore=0.25, lr=0.1, optimizer="adam"), make_run(tmp_path)
    )
    predictor.predict(small_batches(1)[0])
    same = torch.cat(
        [(p == s).flatten() for p, s in zip(predictor.parameters, predictor.start, strict=True)]
    )
    assert abs(same.double().mean().item() - 0.25) < 4 * (0.25 * 0.75 / len(same)) ** 0.5


def test_a_teacher_that_never_moves_predicts_as_the_source_with_batch_statistics(
    tmp_path: Path,
) -> None:
    options = Options(alpha=1.0, threshold=0.0, lr=0.1)
    source, stream = network(), batches(3)
    predictor = adapt(request(source), options, make_run(tmp_path))
    norm = prepare(source)[0]
    for x in stream:
        assert torch.allclose(predictor.predict(x), norm(x), atol=1e-10)


@parametrize_checks("cotta")
def test_conforms(check: Check) -> None:
    check.run()
