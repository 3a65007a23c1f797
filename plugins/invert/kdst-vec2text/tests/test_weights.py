"""Checkpoints in the official layout load by name; what is wrong with one is said in one line."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_vec2text.config import CheckpointConfig
from kdst_vec2text.models import Corrector, Hypothesiser, t5_config
from kdst_vec2text.pair import load_corrector
from kdst_vec2text.tokens import train_tokens
from kdst_vec2text.weights import Kind, build, load_network, locate, save_network

ROOT = os.environ.get("KDST_TEST_DATA")
LAYOUT = Path(ROOT or ".") / "oracles" / "invert" / "state_dict_layout.json"
official = pytest.mark.skipif(
    not ROOT or not LAYOUT.exists(),
    reason="KDST_TEST_DATA names no folder with oracles/invert/state_dict_layout.json",
)
CONFIG = {
    "num_repeat_tokens": 16,
    "model_name_or_path": "t5-base",
    "embedder_model_name": "gtr_base",
    "embedder_model_api": None,
    "max_seq_length": 32,
    "architectures": ["InversionModel"],
}
TIED = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
State = dict[str, Tensor]


def tie(state: State) -> State:
    """The copies of the word embeddings are the word embeddings."""
    shared = state["encoder_decoder.shared.weight"]
    return {**state, **{f"encoder_decoder.{n}.weight": shared.clone() for n in TIED}}


def official_state(kind: Kind, dimension: int) -> State:
    """Random weights of the official names and shapes; 768 in them is D."""
    layout = json.loads(LAYOUT.read_text())["inversion" if kind == "hypothesiser" else kind]
    generator = torch.Generator().manual_seed(dimension)
    return tie(
        {
            name: torch.randn([dimension if n == 768 else n for n in shape], generator=generator)
            for name, shape in layout.items()
        }
    )


def small_state(kind: Kind) -> State:
    """Weights of a small network under today's names."""
    torch.manual_seed(0)
    cls = Hypothesiser if kind == "hypothesiser" else Corrector
    fields = {"vocab_size": 300, "d_model": 8, "d_kv": 4, "num_heads": 2, "d_ff": 8}
    network = cls(t5_config({**fields, "num_layers": 1, "num_decoder_layers": 1}), 6, 16)
    return tie({n: v.detach().clone() for n, v in network.state_dict().items()})


def write(directory: Path, state: State, kind: str = "safetensors") -> Path:
    """A checkpoint as a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    if kind == "safetensors":
        save_file({n: v.clone() for n, v in state.items()}, directory / "model.safetensors")
    else:
        torch.save(state, directory / "pytorch_model.bin")
    return directory


@official
@pytest.mark.parametrize("dimension", [32, 384, 768, 1536])
@pytest.mark.parametrize("kind", ["hypothesiser", "corrector"])
def test_official_layout_loads_at_every_dimension(
    kind: Kind, dimension: int, tmp_path: Path
) -> None:
    state = official_state(kind, dimension)
    network, config = load_network(kind, write(tmp_path, state))
    assert network.dimension == config.embedder_dimension == dimension
    loaded = network.state_dict()
    assert loaded.keys() == {n for n in state if not n.startswith("embedder.")}
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())
    assert network.encoder_decoder.config.d_kv == 8
    assert network.encoder_decoder.config.num_heads == 4


@official
@pytest.mark.parametrize("kind", ["hypothesiser", "corrector"])
def test_official_layout_needs_no_copies_of_the_word_embeddings(kind: Kind, tmp_path: Path) -> None:
    state = official_state(kind, 32)
    for name in TIED:
        del state[f"encoder_decoder.{name}.weight"]
    network, _ = load_network(kind, write(tmp_path, state, "torch"))
    shared = network.encoder_decoder.shared.weight
    assert torch.equal(network.encoder_decoder.lm_head.weight, shared)


def test_older_names_are_today_s() -> None:
    state = small_state("hypothesiser")
    new = build("hypothesiser", state, CheckpointConfig()).state_dict()
    older = {n.replace("transform.3", "transform.2"): v for n, v in state.items()}
    assert "embedding_transform.2.weight" in older
    old = build("hypothesiser", older, CheckpointConfig()).state_dict()
    assert all(torch.equal(value, old[name]) for name, value in new.items())


@pytest.mark.parametrize("last", ["2", "3"])
def test_one_shared_map_of_an_older_corrector_is_copied_to_three(last: str) -> None:
    state = small_state("corrector")
    shared = {n: v for n, v in state.items() if n.startswith("embedding_transform_1")}
    state = {n: v for n, v in state.items() if not n.startswith("embedding_transform_")}
    state |= {
        n.replace("transform_1", "transform").replace(".3.", f".{last}."): v
        for n, v in shared.items()
    }
    network = build("corrector", state, CheckpointConfig())
    for i in (1, 2, 3):
        got = network.get_submodule(f"embedding_transform_{i}").state_dict()
        for name, value in got.items():
            assert torch.equal(value, shared[f"embedding_transform_1.{name}"])


def broken(change: str) -> State:
    """A corrector with one thing wrong."""
    state = small_state("corrector")
    if change == "missing":
        del state["layernorm.bias"]
    elif change == "unknown":
        state["layernorm.scale"] = torch.ones(8)
    elif change == "shape":
        state["layernorm.bias"] = torch.ones(9)
    elif change == "k":
        state["embedding_transform_1.3.weight"] = torch.ones(24, 6)
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", "has no weight 'layernorm.bias'"),
        ("unknown", "has an unknown weight 'layernorm.scale'"),
        ("shape", "weight 'layernorm.bias' of the corrector has shape (9,), not (8,)"),
        ("k", "makes 3 pseudo-tokens, but config.json says num_repeat_tokens 16"),
    ],
)
def test_a_wrong_weight_is_named_in_one_line(change: str, words: str) -> None:
    with pytest.raises(KdstError) as error:
        build("corrector", broken(change), CheckpointConfig())
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_networks_that_are_mixed_up_are_said_to_be() -> None:
    with pytest.raises(KdstError, match="looks like a corrector"):
        build("hypothesiser", small_state("corrector"), CheckpointConfig())


def test_a_checkpoint_in_several_files_loads(tmp_path: Path) -> None:
    state = small_state("corrector")
    write(tmp_path, {})
    (tmp_path / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, chosen in parts.items():
        save_file({n: state[n] for n in chosen}, tmp_path / file)
    index = {"weight_map": {n: file for file, chosen in parts.items() for n in chosen}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    network, _ = load_network("corrector", tmp_path)
    assert torch.equal(network.state_dict()["layernorm.bias"], state["layernorm.bias"])
    index["weight_map"]["layernorm.bias"] = "../outside.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(KdstError, match="outside its directory"):
        load_network("corrector", tmp_path)


class Harmful:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


def test_pickled_objects_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"x": Harmful()}, "torch")  # type: ignore[dict-item]
    with pytest.raises(KdstError, match="cannot read the weights"):
        load_network("corrector", tmp_path)
    assert not (tmp_path / "harmed").exists()


def test_saved_networks_are_read_back_without_copies(tmp_path: Path) -> None:
    made = build("corrector", small_state("corrector"), CheckpointConfig())
    config = CheckpointConfig(max_seq_length=128, embedder_model_name="x", normalised=True)
    save_network(made, config, tmp_path, torch.float16)
    read, found = load_network("corrector", tmp_path)
    assert (found.max_seq_length, found.embedder_model_name, found.normalised) == (128, "x", True)
    for name, value in read.state_dict().items():
        assert torch.allclose(value, made.state_dict()[name], atol=2e-3, rtol=1e-3)
    from safetensors.torch import load_file

    assert not [n for n in load_file(tmp_path / "model.safetensors") if "lm_head" in n]


def test_a_directory_without_tokeniser_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write(tmp_path, small_state("hypothesiser"))
    import transformers

    def nothing(name: str) -> object:
        raise OSError("no connection")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", nothing)
    with pytest.raises(KdstError, match=r"Put the tokenizer.json of 't5-base'"):
        load_corrector(str(tmp_path))


def test_official_checkpoints_need_no_layout_of_ours(tmp_path: Path) -> None:
    first = write(tmp_path / "h", small_state("hypothesiser"), "torch")
    second = write(tmp_path / "c", small_state("corrector"))
    train_tokens(["some words"], 300).tokenizer.save(str(first / "tokenizer.json"))
    both = load_corrector(str(first), str(second))
    assert both.corrector is not None
    assert both.dimension == 6
    assert load_corrector(str(first)).corrector is None
    other = small_state("corrector")
    for i in (1, 2, 3):
        other[f"embedding_transform_{i}.0.weight"] = torch.ones(7, 7)
        other[f"embedding_transform_{i}.0.bias"] = torch.ones(7)
        other[f"embedding_transform_{i}.3.weight"] = torch.ones(16 * 8, 7)
    with pytest.raises(KdstError, match="do not belong together"):
        load_corrector(str(first), str(write(tmp_path / "o", other)))


def test_official_correctors_start_with_a_masked_token_and_those_of_a_fit_do_not(
    tmp_path: Path,
) -> None:
    network, config = load_network(
        "corrector", write(tmp_path / "official", small_state("corrector"))
    )
    assert isinstance(network, Corrector)
    assert network.starts
    save_network(network, config, tmp_path / "kept", torch.float32)
    again, _ = load_network("corrector", tmp_path / "kept")
    assert again.starts
    network.starts = False
    save_network(network, config, tmp_path / "ours", torch.float32)
    ours, _ = load_network("corrector", tmp_path / "ours")
    assert not ours.starts
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    written.pop("masked_start")  # as fits wrote it before
    (tmp_path / "ours" / "config.json").write_text(json.dumps(written))
    assert not load_network("corrector", tmp_path / "ours")[0].starts
    assert not load_corrector("tiny").corrector.starts  # type: ignore[union-attr]


@pytest.mark.parametrize("source", ["no/such/place/here", "nothing", "a b/c"])
def test_what_is_no_checkpoint_is_said(source: str) -> None:
    with pytest.raises(KdstError, match="neither a directory nor a hub id"):
        locate(source)


@pytest.mark.parametrize("text", ["{", "[]", '{"num_repeat_tokens": 0}', '{"max_seq_length": "x"}'])
def test_a_broken_config_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(KdstError, match=r"config\.json"):
        CheckpointConfig.read(tmp_path / "config.json")
