"""Sampling against a plain loop over positions, samples and tokens."""

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_core.contracts import Document, ToolsRequest
from kdst_core.errors import KdstError
from kdst_toolformer import ToolformerOptions, prompts
from kdst_toolformer.method import Annotator
from kdst_toolformer.reading import forward
from kdst_toolformer.reading.draws import generator, pick
from kdst_toolformer.sample import Place, hopeless
from kdst_toolformer.settings import ToolSettings, per_tool
from kdst_tools.calls import escape
from kdst_tools.calls.windows import windows
from kdst_tools.kit import LETTERS
from kdst_tools.models import layouts
from kdst_tools.tools.kit import FunctionTool

TOKENIZER = layouts.tokenizer()
OTHER = FunctionTool("Calculator", "An expression.", lambda a, d: "3", (("a", "a"),))
DOCUMENTS = [Document(text) for text in ("Of 1400 people 400 came.", "Ten [brackets] -> 10", "é")]


def annotator(layout="gpt2", prompted=True, tools=(LETTERS,), context=1024, **options):
    model = layouts.model(layout, len(TOKENIZER), context=context).double()
    chosen = ToolformerOptions(
        sampler="prompted" if prompted else "seeded",
        max_input=6,
        **{"tau_s": ["0"], "k": ["3"], "m": ["2"], "begin_token": "always", **options},
    )
    return Annotator(ToolsRequest(model, TOKENIZER, list(tools), seed=5), chosen)


def found(worker, documents):
    return {
        (d.batch[p.row].document.id, d.tool and d.tool.name, p.index, n): (p.p, list(w))
        for d in worker.sampler.draw(documents)
        for p, samples in zip(d.places, d.written, strict=True)
        for n, w in enumerate(samples)
    }


def plain(worker, documents):
    model, tokens = worker.request.model, worker.tokens
    drawn = {}
    longest = max(len(tokens.head(tool.name, "")) for tool in worker.request.tools)
    for tool in worker.request.tools if worker.prompted else [None]:
        for document in documents:
            encoded = tokens.encode(escape(document.text))
            x, before = encoded.ids, list(tokens.prefix)
            if tool is not None:
                before += tokens.encode(prompts.head(tool)).ids
                before += tokens.encode(prompts.before(escape(document.text))).ids
            p = {}
            for i in range(len(x)):
                with torch.no_grad():
                    logits = model(torch.tensor([before + x[:i]])).logits[0, -1]
                if encoded.offsets[i] >= 0:
                    p[i] = float(logits.softmax(-1)[tokens.start_id])
            chosen = sorted(sorted(p, key=lambda i: (-p[i], i))[:3])
            name = tool.name if tool else ""
            source = generator(5, "sample", document.id, "0", name)
            for i in chosen:
                u = torch.rand(2, 6, generator=source)
                for n in range(2):
                    ids, written = [*before, *x[:i], tokens.start_id], []
                    for step in range(6):
                        with torch.no_grad():
                            logits = model(torch.tensor([ids])).logits[:, -1]
                        token = int(pick(logits, u[n, step : step + 1], 1.0))
                        ids.append(token)
                        written.append(token)
                        text = tokens.decode(written)
                        names = [tool.name] if tool else ["Letters"]
                        if token == tokens.eos or "]" in text or "->" in text:
                            break
                        if len(written) <= longest and hopeless(text, names):
                            break
                    drawn[document.id, tool and tool.name, i, n] = (p[i], written)
    return drawn


@pytest.mark.parametrize(
    ("layout", "prompted"), [("gpt2", True), ("llama", True), ("gptj", True), ("llama", False)]
)
def test_positions_probabilities_and_tokens_are_those_of_a_plain_loop(layout, prompted):
    worker = annotator(layout, prompted, tools=(LETTERS, OTHER)[: 1 + (layout == "gpt2")])
    ours, expected = found(worker, DOCUMENTS), plain(worker, DOCUMENTS)
    assert ours.keys() == expected.keys()
    for key, (p, written) in expected.items():
        assert ours[key][0] == pytest.approx(p, abs=1e-9)
        assert ours[key][1] == written


WORKER = annotator()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 6), st.floats(0, 0.9))
@settings(max_examples=100, deadline=None)
def test_chosen_positions_are_the_k_likeliest_above_the_threshold(p, k, tau_s):
    window = attrs.make_class("W", {"positions": attrs.field(default=range(len(p)))})()
    places = WORKER.sampler.choose(0, window, p, ToolSettings(tau_s=tau_s, k=k))
    above = [i for i, value in enumerate(p) if value > tau_s]
    expected = sorted(sorted(above, key=lambda i: (-p[i], i))[:k])
    assert [place.index for place in places] == expected
    assert sorted(place.rank for place in places) == list(range(len(expected)))


def test_what_is_drawn_for_a_document_does_not_depend_on_other_documents():
    worker = annotator(prompted=False)
    together = found(worker, DOCUMENTS)
    alone = found(annotator(prompted=False), DOCUMENTS[1:2])
    assert {k: v[1] for k, v in together.items() if k[0] == DOCUMENTS[1].id} == {
        k: v[1] for k, v in alone.items()
    }


def test_a_small_budget_of_tokens_changes_nothing():
    assert {k: w for k, (_, w) in found(annotator(budget=64), DOCUMENTS).items()} == {
        k: w for k, (_, w) in found(annotator(), DOCUMENTS).items()
    }


def test_calls_are_sampled_in_windows_of_a_text_longer_than_the_context():
    text = Document(" ".join(layouts.TEXTS) * 3)
    worker = annotator(prompted=False, context=64)
    starts = {window.start for drawn in worker.sampler.draw([text]) for window in drawn.batch}
    assert len(starts) > 3
    with pytest.raises(KdstError, match="leave 0 tokens of the model's context of 64"):
        annotator(context=64).sample([text])


def test_only_calls_of_the_tool_that_was_asked_for_are_taken_once_each():
    worker = annotator(tools=(LETTERS, OTHER), prompted=False, m=["9"], k=["9", "Calculator=1"])
    drawn = next(iter(worker.sampler.draw(DOCUMENTS[:1])))
    spell = {
        "Letters(cat)": worker.tokens.call("Letters", "cat")[1:],
        "Calculator(1)": worker.tokens.call("Calculator", "1", "3")[1:],
        "Nobody(1)": worker.tokens.call("Nobody", "1")[1:],
        "words": worker.tokens.encode("words without end").ids,
    }
    places = [Place(0, 3, 0.5, 0), Place(0, 7, 0.4, 1)]
    written = [[spell["Letters(cat)"]] * 2 + [spell["Nobody(1)"], spell["Calculator(1)"]]] * 2
    calls = worker.sampler.records(attrs.evolve(drawn, places=places, written=written))
    assert [(c.position, c.tool, c.input) for c in calls] == [
        (3, "Letters", "cat"),
        (3, "Calculator", "1"),
        (7, "Letters", "cat"),
    ]
    assert calls[0].offset == drawn.batch[0].offsets[3]
    none = worker.sampler.records(
        attrs.evolve(drawn, places=places[:1], written=[[spell["words"]]])
    )
    assert none == []


@pytest.mark.parametrize(
    ("text", "none"),
    [
        ("", False), ("  Cal", False), (" Calculator", False), ("Calculator (", False),
        ("Calculator(12 apples", False), ("Calculators", True), ("173 / 4", True), ("Let", False),
        ("Letters[", True), ("calculator(", True), ("Le\N{REPLACEMENT CHARACTER}", False),
    ],
)  # fmt: skip
def test_what_cannot_become_a_call_is_told_early(text, none):
    assert hopeless(text, ["Calculator", "Letters"]) == none


def test_thresholds_are_those_of_the_paper_with_overrides_for_each_tool():
    names = ["Calculator", "QA"]
    paper = per_tool(ToolformerOptions(), names, warm=False)
    assert paper == {
        "Calculator": ToolSettings(tau_s=0.0, k=20, m=10, tau_f=0.5),
        "QA": ToolSettings(tau_s=0.05, k=5, m=5, tau_f=1.0),
    }
    options = ToolformerOptions(tau_f=["QA=0.2", "0.7"], k=["3"], cap=["Calculator=9"])
    own = per_tool(options, names, warm=True)
    assert (own["QA"].tau_f, own["Calculator"].tau_f) == (0.2, 0.7)
    assert (own["QA"].k, own["Calculator"].cap) == (3, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_f": ["Calculater=1"]}, "no tool 'Calculater'. Did you mean 'Calculator'"),
        ({"k": ["1.5"]}, "'1.5' is not a whole number"),
        ({"m": ["0"]}, "0 must be at least 1"),
        ({"tau_s": ["1"]}, "1 must be at least 0 and below 1"),
    ],
)
def test_wrong_overrides_are_named(options, message):
    with pytest.raises(KdstError, match=message):
        per_tool(ToolformerOptions(**options), ["Calculator"], warm=False)


def test_texts_of_a_heavy_model_are_sampled_side_by_side(monkeypatch):
    light = found(annotator("llama", budget=64), DOCUMENTS)
    monkeypatch.setattr(forward, "HEAVY", 0)
    monkeypatch.setattr(forward.CausalModel, "most", lambda self, budget: 64)
    worker = annotator("llama")
    assert len(list(worker.sampler.positions(list(parts(worker)), LETTERS))) > 1
    drawn = list(worker.sampler.draw(DOCUMENTS))
    assert [len(one.batch) for one in drawn] == [len(DOCUMENTS)]
    heavy = found(worker, DOCUMENTS)
    assert {at: w for at, (_, w) in heavy.items()} == {at: w for at, (_, w) in light.items()}
    assert all(abs(p - light[at][0]) < 1e-9 for at, (p, _) in heavy.items())


def parts(worker):
    for document in DOCUMENTS:
        yield from windows(document, worker.tokens, worker.sampler.window_size())


def test_stages_draw_the_same_samples_and_stop_where_the_first_agree():
    whole = found(annotator(m=["4"]), DOCUMENTS)
    staged = found(annotator(m=["4"], agree=2), DOCUMENTS)
    assert set(staged) <= set(whole)
    assert all(staged[key][1] == whole[key][1] for key in staged)
    assert len({key[:3] for key in staged}) == len({key[:3] for key in whole})


def test_stages_go_on_where_the_first_samples_differ(monkeypatch):
    worker = annotator(m=["4"], agree=2)
    monkeypatch.setattr(worker.sampler, "_agreed", lambda samples: len(samples[0]) > 99)
    assert found(worker, DOCUMENTS).keys() == found(annotator(m=["4"]), DOCUMENTS).keys()


def test_samples_agree_by_their_call_not_by_how_it_is_spaced():
    worker = annotator()
    ids = {t: worker.tokens._ids(t) for t in ("Letters(a)]", "Letters( a )]", "Letters(b)]", "no")}
    agreed = worker.sampler._agreed
    assert agreed([ids["Letters(a)]"], ids["Letters( a )]"]])
    assert not agreed([ids["Letters(a)]"], ids["Letters(b)]"]])
    assert not agreed([ids["Letters(a)]"], ids["no"]])
    assert agreed([ids["no"], ids["no"]])


def test_texts_that_are_not_likely_to_need_a_tool_are_not_sampled_for_it():
    texts = [Document("Of 1400 people 400 came, so 1000 did not."), Document("Ten people came.")]
    worker = annotator(tools=(LETTERS, OTHER), choose="likely")
    drawn = {(doc, tool) for doc, tool, *_ in found(worker, texts)}
    assert drawn == {
        (texts[0].id, "Letters"),
        (texts[0].id, "Calculator"),
        (texts[1].id, "Letters"),
    }
