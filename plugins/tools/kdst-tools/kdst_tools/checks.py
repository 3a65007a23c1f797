"""The conformance checks of a method of tool use, on a small random model."""

import copy
import hashlib
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import torch

from kdst_authors.testing import GIVEN, given_only, make_run
from kdst_authors.untouched import marks, touched
from kdst_core.bench.contract import Check
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Document, ToolLearner, ToolsRequest
from kdst_core.plugins.method import Method
from kdst_core.runs.codecs import TorchCodec
from kdst_tools.calls import plain, write
from kdst_tools.evaluation.problems import Problem
from kdst_tools.kit import LETTERS, annotated, documents, proposed, small_learner
from kdst_tools.models import layouts


def tools_checks(method: Method) -> Iterator[Check]:
    """Yield the checks; those that follow name their cause."""
    yield Check(GIVEN, lambda: _given_only(method))
    sound = (GIVEN,)
    yield Check("the user's model is unchanged", lambda: _model_unchanged(method), sound)
    yield Check("a shard's calls do not depend on other shards", lambda: _shards(method), sound)
    yield Check("plain texts come back from annotated ones", lambda: _round_trip(method), sound)
    yield Check("every call says what became of it", lambda: _reasons(method), sound)
    yield Check("training resumes exactly", lambda: _resume(method), sound)
    yield Check("forbidden calls are not made", lambda: _forbidden(method), sound)


def _learner(method: Method) -> ToolLearner:
    """A learner with default options."""
    with tempfile.TemporaryDirectory() as directory, silence_libraries():
        run = make_run(Path(directory), codec=TorchCodec())
        return small_learner(method, method.description.options(), run)


def _given_only(method: Method) -> None:
    """With other answers to the problems every call and every text is the same."""
    given_only(partial(_answered, method), "answers")


def _answered(method: Method, number: int) -> str:
    """Annotate and answer problems whose answers lie open; return a digest of calls and texts."""
    answers = ("41", "nine") if number else ("3", "seven")
    prompts = ("A cat has how many letters? The answer is", "The word after six is")
    problems = [Problem(p, answer) for p, answer in zip(prompts, answers, strict=True)]
    learner = _learner(method)
    with silence_libraries():
        calls = annotated(learner, documents()[:1])
        outputs = learner.generate([Document(problem.prompt) for problem in problems])
    assert len(outputs) == len(problems), "there is not one continuation a prompt"
    content = [[attrs.asdict(c) for c in calls], [(o.text, o.annotated) for o in outputs]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _shards(method: Method) -> None:
    """Another worker that has done other documents before finds the same."""
    texts = documents()
    first = annotated(_learner(method), texts[:2])
    other = _learner(method)
    annotated(other, texts[2:])
    assert annotated(other, texts[:2]) == first, "calls depend on what was annotated before"


def _round_trip(method: Method) -> None:
    """Without its calls an annotated text is the document."""
    learner, texts = _learner(method), documents()
    calls = learner.execute(texts, proposed(texts))
    kept = [attrs.evolve(call, kept=True) for call in calls]
    for annotation in learner.annotate(texts, kept):
        assert plain(annotation.text) == annotation.document.text, "the text was changed"
        assert write("Letters", "cat", "3") in annotation.text, "a kept call is not in the text"


def _reasons(method: Method) -> None:
    """A call that is scored has a gain, and one that does not stay a reason."""
    for call in annotated(_learner(method), documents()):
        assert call.result is None or call.gain is not None or call.reason, "a call has no gain"
        assert call.kept != bool(call.reason), "a call must be kept or say why not"


def _model_unchanged(method: Method) -> None:
    """Weights of the model are what they were after all stages, without gradients."""
    tokenizer = layouts.tokenizer()
    model = layouts.model("gpt2", len(tokenizer), context=512)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = marks(model)
    with tempfile.TemporaryDirectory() as directory, silence_libraries():
        run = make_run(Path(directory), codec=TorchCodec())
        request = ToolsRequest(model, tokenizer, [LETTERS], warm=True)
        learner = method.call(request, method.description.options(), run)
        texts = documents()
        calls = annotated(learner, texts)
        next(iter(learner.finetune(learner.annotate(texts, calls))))
        learner.generate(texts[:1])
    same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert same, "the user's model changed"
    found = touched(hooks, model)
    assert found is None, f"the user's model is not as it was: {found}"


def _resume(method: Method) -> None:
    """A training that takes over a state goes on with the same bits."""
    learner, texts = _learner(method), documents()
    annotations = learner.annotate(texts, proposed(texts)) * 40
    straight = learner.finetune(annotations)
    steps = iter(straight)
    next(steps)
    other = learner.finetune(annotations)
    other.load_state_dict(copy.deepcopy(straight.state_dict()))
    expected = [step.loss for step, _ in zip(steps, range(2), strict=False)]
    found = [step.loss for step, _ in zip(other, range(2), strict=False)]
    assert found == expected, "state_dict() misses something"


def _forbidden(method: Method) -> None:
    """With tools off no call is made, and the text holds none."""
    for output in _learner(method).generate(documents()[:3], tools=False):
        assert not output.calls, "a call was made although calls were forbidden"
        assert "[" not in output.annotated, "a call was begun although calls were forbidden"
