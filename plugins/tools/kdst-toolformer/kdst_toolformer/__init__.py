"""Toolformer: a language model teaches itself to use tools, by which calls help it to predict."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_toolformer.claims import CLAIMS
from kdst_tools.options import StagedOptions

if TYPE_CHECKING:
    from kdst_core.contracts import RunServices, ToolLearner, ToolsRequest


@frozen
class ToolformerOptions(StagedOptions):
    """Options of Toolformer; the paper's names are in the help texts."""

    sampler: Literal["auto", "prompted", "seeded"] = option(
        "auto",
        "prompted: few-shot prompts, one tool at a time (the paper). seeded: a model that was warmed"
        " up on demonstrations samples without a prompt. auto: seeded on tiny, else prompted.",
    )
    placement: Literal["auto", "prefix", "inline"] = option(
        "auto",
        "Where a call stands when its loss is taken: prefix, before the text (the paper), or inline,"
        " where it will stand, for models that know calls. auto: inline on tiny, else prefix.",
    )
    tau_s: list[str] = option(
        [], "Sampling threshold τ_s, VALUE or TOOL=VALUE. Default: 0.05; Calculator and MT 0."
    )
    k: list[str] = option(
        [], "Most positions in a text, likewise. Default: 5; Calculator and MT 20."
    )
    m: list[str] = option([], "Samples at a position, likewise. Default: 5; Calculator and MT 10.")
    agree: int = option(
        0,
        "Sample a position in stages: so many samples first, the rest of --m only where these are not"
        " all the same call, or all no call. Fewer distinct calls in less time. 0: all at once.",
        min=0,
    )
    tau_f: list[str] = option(
        [],
        "Filtering threshold τ_f in nats, likewise. Default: 1; Calculator and MT 0.5. On tiny every"
        " tool has the first value of each of the four.",
    )
    losses: Literal["auto", "all", "deciding"] = option(
        "auto",
        "all: the three losses of every call. deciding: that of a call without its result is left out"
        " where the other two reject it already. The same calls stay, in less time; the gain on record"
        " of those is then the most it can be. auto: deciding where calls stand before the text, which"
        " is read again for each loss.",
    )
    screen: Literal["auto", "no", "bfloat16"] = option(
        "auto",
        "Screening of calls. bfloat16: losses are read with linear layers in bfloat16 first, on a CPU"
        " that has instructions for it, and again in the precision of --dtype for calls whose gain is"
        " then over --tau-f minus 0.25 nats. Only these can stay; the losses on record of the others are"
        " those of the screening. auto: bfloat16 on such a CPU for a model in float32 of over 100 million"
        " parameters, unless --losses all, else no.",
    )
    cap: list[str] = option([], "Most examples of a tool, likewise. Default: 25000.")
    max_kept: int = option(0, "Most calls that stay in one text, best first; 0 is no limit.", min=0)
    keep_all: bool = option(
        False,
        "Let the loss alone decide, as published: also calls whose input copies a number from behind"
        " them, that stand inside a number, whose result is their input, that repeat the call next to"
        " them or that are paid for the same tokens as a better one.",
    )
    max_input: int = option(48, "Most tokens of a call up to its result.", min=4)
    sample_temperature: float = option(
        1.0, "Temperature of the sampled calls; 0 is greedy.", min=0, max=10
    )
    sampling_dtype: Literal["auto", "same", "int8", "bfloat16"] = option(
        "auto",
        "Precision in which calls are sampled. same: that of --dtype, in which losses are. int8: linear"
        " layers in 8 bits, with a scale a row of the weights and a token. bfloat16: linear layers in"
        " bfloat16. Both on a CPU that has instructions for it. auto: int8 or else bfloat16 on such a CPU"
        " for a model in float32 of over 100 million parameters, else same.",
    )
    lr: float | None = option(
        None, "Learning rate of finetuning. Default: 1e-5; 2e-4 by LoRA; 1e-3 on tiny.", above=0
    )
    batch: int | None = option(
        None, "Sequences of a finetuning step. Default: 128; 8 by LoRA; 16 on tiny.", min=1
    )
    steps: int = option(2000, "Most steps of finetuning.", min=1)
    epochs: float | None = option(
        None,
        "Passes over the annotated texts, if they need fewer steps. Default: 1; 3 by LoRA and on tiny.",
        above=0,
    )
    full: bool = option(
        False,
        "Finetune all weights also of a model of over 100 million parameters, which by default is"
        " finetuned by LoRA (package peft).",
    )
    lora_rank: int = option(16, "Rank of LoRA.", min=1)
    length: int = option(1024, "Most tokens of a finetuning sequence.", min=8)
    trigger: Literal["auto", "top-k", "probability"] = option(
        "auto",
        "What begins a call in generation: top-k, when the call token is among the --trigger-k"
        " likeliest (the paper); probability, when it passes --trigger-p. auto: probability on tiny,"
        " whose vocabulary is too small for the former, else top-k.",
    )
    trigger_k: int = option(10, "k of the trigger top-k.", min=1)
    trigger_p: float = option(0.5, "Threshold of the trigger probability.", min=0, max=1)
    max_calls: int = option(
        1, "Most calls in one generation, those that failed not counted.", min=0
    )
    max_tokens: int = option(32, "Most tokens of plain text in one generation.", min=1)
    temperature: float = option(0.0, "Temperature of generation; 0 is greedy.", min=0, max=10)
    budget: int = option(8192, "Tokens that one call of the model reads, padding included.", min=64)
    workers: int = option(8, "Tool calls that run at the same time.", min=1, max=256)
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = option(
        "auto",
        "Precision of annotating and generating. auto: bfloat16 on CUDA, else the model's own.",
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Let a language model teach itself to use tools, from plain texts.",
        options=ToolformerOptions,
        paper="Schick et al., Toolformer: Language Models Can Teach Themselves to Use Tools, 2023",
        url="https://arxiv.org/abs/2302.04761",
        licence="Apache-2.0",
        needs={"gradients"},
        claims=CLAIMS,
    )


@hookimpl
def augment_with_tools(
    request: "ToolsRequest", options: ToolformerOptions, run: "RunServices"
) -> "ToolLearner":
    """Return the stages, bound to the request's model and tools."""
    from kdst_toolformer.method import Annotator

    return Annotator(request, options)
