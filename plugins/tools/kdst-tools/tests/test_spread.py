"""A round that workers annotate has the calls, events and records of one that a single process does."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

import kdst_core
from kdst_batch.testing import BackwardExecutor
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import ToolCall
from kdst_core.errors import KdstError
from kdst_tools.calls.records import CallStream
from kdst_tools.models import layouts
from kdst_tools.models.pretrained import save

pytest.importorskip("kdst_toolformer")
TEXTS = [f"{text} Text {i}." for i, text in enumerate(layouts.TEXTS)]
SHORT = {
    **{"max_input": 6, "max_tokens": 4, "k": ["2"], "m": ["2"], "tau_s": ["0"], "shard": 2},
    **{"steps": 2, "batch": 2, "length": 64},
}
CALLS = ("calls.jsonl", "annotations.jsonl", "counts.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model and a few texts."""
    path = tmp_path_factory.mktemp("model")
    tokenizer = layouts.tokenizer(TEXTS)
    with silence_libraries():
        save(layouts.model("gpt2", len(tokenizer), context=1024), tokenizer, path / "gpt2")
    (path / "texts.txt").write_text("\n\n".join(TEXTS))
    return path


def run(folder: Path, out: Path, stage: str, **options: Any) -> Any:
    """Annotate with a threshold that keeps calls."""
    fixed = {"model": str(folder / "gpt2"), "texts": folder / "texts.txt", "tau_f": ["-100"]}
    return kdst_core.run("toolformer", out=out, stage=stage, **{**fixed, **SHORT, **options})


def sampled(folder: Path, out: Path) -> Path:
    """Sample, then put calls into the records that no random model would write."""
    run(folder, out, "sample")
    path = out / "rounds" / "1" / "sampled.jsonl"
    documents = [doc for doc, _ in CallStream(path)]
    path.unlink()
    stream = CallStream(path)
    for i, doc in enumerate(documents):
        inputs = (f"{601 + i} + 51", f"{601 + i} + 52", "1 / 0")
        stream.append([doc], [ToolCall(doc, 0, "Calculator", x, p=0.5) for x in inputs])
    return out


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same calls, annotations, counts and events."""
    names = [f"artifacts/{name}" for name in CALLS]
    names += ["events.jsonl", *(f"rounds/1/{n}.jsonl" for n in ("sampled", "executed", "filtered"))]
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in names)


def test_workers_go_on_from_the_stage_that_is_done_and_find_the_same(
    folder: Path, tmp_path: Path
) -> None:
    one = run(folder, sampled(folder, tmp_path / "one"), "filter", resume=True)
    two = run(folder, sampled(folder, tmp_path / "two"), "filter", resume=True, jobs=2)
    assert one.metrics == two.metrics
    assert one.metrics["count.kept"] == len(TEXTS)
    assert same(one.directory, two.directory)
    assert not list((two.directory / "rounds" / "1").glob("parts-*"))
    assert one.data["input"] == two.data["input"]
    assert one.data["command"].replace("one", "two") == two.data["command"]


def test_workers_that_are_stopped_in_the_middle_change_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = run(folder, sampled(folder, tmp_path / "one"), "filter", resume=True)
    out = sampled(folder, tmp_path / "two")
    executors = iter(
        [
            BackwardExecutor(die_at=1),
            BackwardExecutor(die_at=1),
            BackwardExecutor(),
            BackwardExecutor(),
        ]
    )
    monkeypatch.setattr("kdst_batch.executors.place.make", lambda *_: next(executors))
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, "filter", resume=True, jobs=2)
    parts = out / "rounds" / "1" / "parts-sample-filter"
    assert [p.name for p in parts.glob("part-*")] == [f"part-{(len(TEXTS) - 1) // 2:08d}.jsonl"]
    two = run(folder, out, "filter", resume=True, jobs=2)
    assert one.metrics == two.metrics
    assert same(one.directory, out)


def test_a_run_of_one_process_goes_on_with_workers_and_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdst_batch.executors.place.make", lambda *_: BackwardExecutor())
    out = sampled(folder, tmp_path / "two")
    run(folder, out, "execute", resume=True)
    found = run(folder, out, "filter", resume=True, jobs=2)
    assert run(folder, out, "filter", resume=True).metrics == found.metrics


@pytest.mark.parametrize("number", range(1, 7))
def test_a_run_that_ends_before_a_checkpoint_has_the_events_of_one_that_did_not(
    number: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdst_core.runs.rundir import Run

    one = run(folder, sampled(folder, tmp_path / "one"), "finetune", resume=True)
    out, calls, keep = sampled(folder, tmp_path / "two"), count(1), Run.checkpoint

    def stop(self: Run, state: Any) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        keep(self, state)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out, "finetune", resume=True)
    assert run(folder, out, "finetune", resume=True).metrics == one.metrics
    assert same(one.directory, out)


def test_a_live_model_and_an_executor_that_is_missing_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(KdstError, match="workers load the model themselves"):
        run(folder, tmp_path / "a", "filter", jobs=2, model=(object(), object()))
    with pytest.raises(KdstError, match="no executor 'rya' is installed"):
        run(folder, tmp_path / "b", "filter", executor="rya")
    assert not (tmp_path / "a").exists()
