"""Runs of the bench: all stages on models from a directory, bad input, resuming after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from pyarrow import parquet

import kdst_core
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Document, ToolCall
from kdst_core.errors import KdstError
from kdst_tools import outcome
from kdst_tools.calls import plain
from kdst_tools.calls.records import CallStream
from kdst_tools.models import layouts
from kdst_tools.models.pretrained import load, save

pytest.importorskip("kdst_toolformer")
TEXTS = [f"{text} Text {i}." for i, text in enumerate(layouts.TEXTS)]
SHORT = {"max_input": 6, "max_tokens": 4, "k": ["2"], "m": ["2"], "tau_s": ["0"], "shard": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Random models in three layouts, without a pad token, and a few texts."""
    path = tmp_path_factory.mktemp("models")
    tokenizer = layouts.tokenizer(TEXTS)
    with silence_libraries():
        for layout in ("gpt2", "llama", "gptj"):
            save(layouts.model(layout, len(tokenizer), context=1024), tokenizer, path / layout)
    (path / "texts.txt").write_text("\n\n".join(TEXTS))
    (path / "problems.json").write_text("[]")
    return path


def run(folder: Path, out: Path, layout: str = "gpt2", **options):
    chosen = {"model": str(folder / layout), "texts": folder / "texts.txt", **SHORT, **options}
    return kdst_core.run("toolformer", out=out, **chosen)


def plant(out: Path) -> list[ToolCall]:
    """Put calls into the sampled records that no random model would write."""
    path = out / "rounds" / "1" / "sampled.jsonl"
    documents = [doc for doc, _ in CallStream(path)]
    path.unlink()
    stream, planted = CallStream(path), []
    for i, doc in enumerate(documents):
        calls = [ToolCall(doc, 0, "Calculator", f"9{i} + {j}", p=0.5) for j in (55, 66)]
        calls.append(ToolCall(doc, 0, "Calculator", "1 / 0", p=0.4))
        stream.append([doc], calls)
        planted += calls
    return planted


@pytest.mark.parametrize("layout", ["gpt2", "llama", "gptj"])
def test_all_stages_run_on_a_model_from_a_directory(folder, tmp_path, layout):
    out = tmp_path / "run"
    options = {"tau_f": ["-100"], "held_out": folder / "texts.txt", "held_out_count": 2}
    run(folder, out, layout, stage="sample", **options)
    planted = plant(out)
    with pytest.raises(KdstError, match="another configuration"):
        run(folder, out, layout, stage="evaluate", resume=True, held_out_count=2)
    found = run(folder, out, layout, stage="evaluate", resume=True, **options)
    counts = {k: v for k, v in found.metrics.items() if k.startswith("count.")}
    assert counts == {
        "count.sampled": len(planted),
        "count.executed": 8,
        "count.failed": 4,
        "count.kept": 4,
    }
    lines = (out / "artifacts" / "annotations.jsonl").read_text().splitlines()
    for line, text in zip(map(json.loads, lines), TEXTS, strict=True):
        assert line["text"] == plain(line["annotated"]) == text
        assert line["annotated"].count("[Calculator(") == 1
        assert {c["reason"] for c in line["calls"]} == {
            "",
            "division by zero",
            "another call here gains more",
        }
    assert parquet.read_table(out / "artifacts" / "calls.parquet").num_rows == len(planted)
    assert found.metrics["perplexity.plain.before"] > 1
    with silence_libraries():
        model, tokenizer = load(str(out / "artifacts" / "model"), "cpu")
    assert len(tokenizer) == model.config.vocab_size
    assert (out / "report.html").is_file()


def test_one_prompt_is_continued_without_training(folder, tmp_path):
    found = kdst_core.run(
        "toolformer",
        model=str(folder / "llama"),
        prompt="Out of 1400",
        out=tmp_path / "run",
        max_tokens=4,
    )
    shown = json.loads((tmp_path / "run" / "artifacts" / "generation.json").read_text())
    assert shown["prompt"] == "Out of 1400"
    assert found.summary[0].startswith("Out of 1400")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texts": None}, "give --texts FILE"),
        ({"texts": "no.txt"}, "no such file"),
        ({"tools": ["nothing"]}, "there is no tool 'nothing'"),
        ({"problems": "svamp:no.json"}, "no such file"),
        ({"k": ["x"]}, "'x' is not a whole number"),
        ({"tau_f": ["QA=1"]}, "no tool 'QA'"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(folder, tmp_path, options, message):
    out = tmp_path / "run"
    with pytest.raises(KdstError, match=message):
        run(folder, out, **{k: v for k, v in options.items() if v is not None or k != "texts"}, **(
            {"texts": None} if options.get("texts", 1) is None else {}))  # fmt: skip
    assert not out.exists()


def test_models_that_cannot_be_loaded_are_named(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(KdstError, match=r"holds no model: config\.json is missing"):
        run(folder, tmp_path / "run", model=str(tmp_path / "empty"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(KdstError, match="cannot be loaded"):
        run(folder, tmp_path / "run", model=str(tmp_path / "broken"))
    assert not (tmp_path / "run").exists()


def test_a_stage_that_lies_behind_is_refused(folder, tmp_path):
    out = tmp_path / "run"
    run(folder, out, stage="filter")
    with pytest.raises(KdstError, match="--stage sample lies before it"):
        run(folder, out, stage="sample", resume=True)


def test_a_finished_run_goes_on_with_more_rounds(folder, tmp_path):
    out = tmp_path / "run"
    run(folder, out, stage="finetune")
    first = (out / "rounds" / "1" / "model" / "model.safetensors").read_bytes()
    run(folder, out, stage="finetune", rounds=2, resume=True)
    assert (out / "rounds" / "1" / "model" / "model.safetensors").read_bytes() == first
    second = (out / "rounds" / "2" / "model" / "model.safetensors").read_bytes()
    assert (out / "artifacts" / "model" / "model.safetensors").read_bytes() == second != first
    with pytest.raises(KdstError, match="has come to round 2 already"):
        run(folder, out, stage="finetune", rounds=1, resume=True)


def test_the_cost_of_a_resumed_run_is_that_of_all_its_sessions(folder, tmp_path, monkeypatch):
    out, found = tmp_path / "run", []
    for seconds, stage in ((1000, "filter"), (1, "finetune"), (1, "generate")):
        clock = count(0.0, seconds)
        monkeypatch.setattr(outcome, "time", SimpleNamespace(perf_counter=clock.__next__))
        run(folder, out, stage=stage, resume=bool(found))
        found.append(json.loads((out / "artifacts" / "cost.json").read_text()))
    assert 1000 <= found[0]["annotate"] < found[1]["annotate"] < found[2]["annotate"]
    assert 1 <= found[1]["finetune"] < found[2]["finetune"]


def test_a_text_longer_than_the_context_is_read_in_windows(folder, tmp_path):
    long = " ".join(TEXTS) * 40
    (tmp_path / "long.txt").write_text(long)
    out = tmp_path / "run"
    options = {"texts": tmp_path / "long.txt", "sampler": "seeded", "tau_f": ["-100"]}
    run(folder, out, stage="sample", **options)
    doc = Document(long).id
    path = out / "rounds" / "1" / "sampled.jsonl"
    path.unlink()
    far = ToolCall(doc, 990, "Calculator", "55 + 55", window=700, p=0.5)
    stream = CallStream(path)
    with pytest.raises(KeyError):
        stream.append([], [far])
    stream.append([doc], [attrs.evolve(far, window=0, position=3, offset=5)])
    found = run(folder, out, stage="filter", resume=True, **options)
    assert found.metrics["count.kept"] == 1


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "kdst_core", "run", "toolformer", "-q", *words]


def started(words: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def killed_when(process: "subprocess.Popen[bytes]", ready) -> bool:
    """Kill -9 as soon as a condition holds; False where the process ended before."""
    while process.poll() is None:
        if ready():
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.02)
    return False


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.slow
def test_killed_runs_resume_to_the_records_and_counts_of_one_that_was_not(tmp_path):
    options = (
        "--documents", "96", "--shard", "16", "--epochs", "30", "--stage", "finetune",
    )  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(*options, "--out", str(whole)), check=True)
    process = started(command(*options, "--out", str(cut)))
    sampled = cut / "rounds" / "1" / "sampled.jsonl"
    assert killed_when(process, lambda: size(sampled) > 0), "ended before it could be killed"
    assert not (cut / "rounds" / "1" / "executed.jsonl").exists()
    process = started(command(*options, "--out", str(cut), "--resume"))
    checkpoint = cut / "checkpoint.json"

    def trains() -> bool:
        events = cut / "events.jsonl"
        return checkpoint.exists() and b'"loss.1"' in events.read_bytes()

    assert killed_when(process, trains), "ended before it could be killed"
    subprocess.run(command(*options, "--out", str(cut), "--resume"), check=True)
    for name in ("calls.jsonl", "annotations.jsonl", "counts.json", "model/model.safetensors"):
        ours, theirs = ((d / "artifacts" / name).read_bytes() for d in (cut, whole))
        assert ours == theirs, f"{name} differs after two kills"
