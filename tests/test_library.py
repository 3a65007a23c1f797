"""Claims about methods as functions of live objects."""

import doctest
import gc
from pathlib import Path
from typing import Any

import pytest

import kdst_core as kdst
from kdst_core.errors import KdstError

torch = pytest.importorskip("torch")
pytest.importorskip("kdst_tent")
ROOT = Path(__file__).parents[1]


def network(classes: int = 5) -> Any:
    torch.manual_seed(0)
    layers = torch.nn
    return layers.Sequential(
        *(layers.Conv2d(3, 8, 3), layers.BatchNorm2d(8), layers.ReLU()),
        *(layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(8, classes)),
    )


def images(count: int = 8) -> Any:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_a_predictor_is_what_the_hook_returns() -> None:
    from kdst_core.contracts import AdaptRequest
    from kdst_core.plugins.method import load
    from kdst_core.runs.aside import Aside

    model, x = network(), images()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    method = load("tent")
    request = AdaptRequest(model, 5, (3, 12, 12), torch.Generator().manual_seed(0), None, x[:2])
    own = method.call(request, method.description.options(lr=0.1), Aside(Path(), 0, "cpu"))
    predictor = kdst.load("tent", "adapt")(model, lr=0.1)
    for _ in range(3):
        assert torch.equal(predictor.predict(x), own.predict(x))
    assert predictor.diagnostics.updates == 1
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_predictor_forgets_and_goes_on_like_any() -> None:
    model, x = network(), images()
    predictor = kdst.load("tent")(model, lr=0.1)
    first, second = predictor.predict(x), predictor.predict(x)
    other = kdst.load("tent")(model, lr=0.1)
    other.load_state_dict(predictor.state_dict())
    third = predictor.predict(x)
    assert torch.equal(other.predict(x), third)
    predictor.reset()
    assert torch.equal(predictor.predict(x), first)
    assert not torch.equal(first, second)


def test_what_a_method_writes_to_stays_as_long_as_it_is_used() -> None:
    from kdst_core.bench.library import Bound, Folder

    folder = Folder()
    path = folder.path
    bound = Bound(None, None, None, 0, "cpu", folder)  # type: ignore[arg-type]
    (bound.services("cpu").dir / "file").touch()
    del folder
    gc.collect()
    assert (path / "file").is_file()
    del bound
    gc.collect()
    assert not path.exists()


def test_an_inversion_keeps_its_folder_until_its_end() -> None:
    held = pytest.importorskip("kdst_invert.library")._held
    from kdst_core.bench.library import Bound, Folder

    found = held(Bound(None, None, None, 0, "cpu", folder := Folder()), iter([1, 2]))  # type: ignore[arg-type]
    path = folder.path
    del folder
    assert next(found) == 1
    gc.collect()
    assert path.is_dir()
    assert list(found) == [2]
    gc.collect()
    assert not path.exists()


def test_what_is_no_pipeline_is_told_in_a_line() -> None:
    pytest.importorskip("kdst_p2p")
    with pytest.raises(KdstError, match="must be a diffusers text-to-image pipeline"):
        kdst.load("p2p")(object(), source="a disc", target="a ring")


def test_a_head_beside_the_logits_is_left_out() -> None:
    class Two(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Any) -> Any:
            return {"logits": self.net(x), "features": x}

    x = images()
    found = kdst.load("tent")(Two()).predict(x)
    assert torch.equal(found, kdst.load("tent")(network()).predict(x))


def test_the_modes_of_the_model_stay() -> None:
    model = network().train()
    model[1].eval()
    kdst.load("tent")(model).predict(images())
    assert [module.training for module in model.modules()][:3] == [True, True, False]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kdst.load("tentt"), "Did you mean 'tent'"),
        (lambda: kdst.load("tent", "edit"), "a method of adapt, not of edit"),
        (lambda: kdst.load("tent")(), "takes (model, source): missing"),
        (lambda: kdst.load("tent")(network(), None, 3), "too many positional"),
        (lambda: kdst.load("tent")({}), "must be a torch.nn.Module, not a dict"),
        (lambda: kdst.load("tent")(network(), lrr=1), "no option 'lrr'. Did you mean 'lr'"),
        (lambda: kdst.load("tent")(network(), lr="much"), "lr: 'much' is not a number"),
        (lambda: kdst.load("tent")(network(), lr=-1.0), "must be at least 0"),
        (lambda: kdst.load("tent")(network(), data="digits"), "an option of `kdst run tent`"),
        (lambda: kdst.load("tent")(network().half()), "give model.float()"),
        (lambda: kdst.load("tent")(network()).diagnostics, "call predict(x) first"),
        (
            lambda: kdst.load("tent")(network()).predict(images()[0]),
            "not torch.float32 (3, 12, 12)",
        ),
        (lambda: kdst.load("tent")(network()).predict(images().mul(255).byte()), "torch.uint8"),
        (
            lambda: kdst.load("tent")(network()).predict(images()[:, :1]),
            "the model fails on images",
        ),
        (lambda: kdst.load("tent")(network(1)).predict(images()), "must return logits"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(call: Any, said: str) -> None:
    with pytest.raises(KdstError) as told:
        call()
    assert said in str(told.value)


def test_methods_that_need_source_data_say_so() -> None:
    pytest.importorskip("kdst_eata")
    with pytest.raises(KdstError, match="eata needs source data: give source="):
        kdst.load("eata")(network())


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ((torch.zeros(2, 3), lambda texts: torch.ones(len(texts), 4)), r"\(N, 4\).*not \(2, 3\)"),
        ((torch.full((2, 4), torch.nan), lambda texts: torch.ones(len(texts), 4)), "not finite"),
        (("text", lambda texts: torch.ones(len(texts), 4)), "not a str"),
        ((torch.zeros(2, 4), "minilm"), "not a function"),
    ],
)
def test_vectors_that_are_none_are_told_in_a_line(objects: Any, said: str) -> None:
    pytest.importorskip("kdst_vec2text")
    with pytest.raises(KdstError, match=said):
        kdst.load("vec2text")(*objects)


def test_a_bench_without_a_library_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdst_adapt.bench import AdaptBench

    monkeypatch.delattr(AdaptBench, "library")
    with pytest.raises(KdstError, match="cannot be called from Python yet"):
        kdst.load("tent")


def test_the_examples_of_the_page_are_what_happens(tmp_path: Path) -> None:
    for name in ("kdst_tea", "kdst_p2p", "kdst_3dgs", "kdst_toolformer", "kdst_vec2text"):
        pytest.importorskip(name)
    found = doctest.testfile(str(ROOT / "docs" / "library.md"), module_relative=False)
    assert found.failed == 0
    assert found.attempted > 10
