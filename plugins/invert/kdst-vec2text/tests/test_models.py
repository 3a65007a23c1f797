"""Both networks against a float64 rendering of their equations, T5 included."""

import math

import pytest
import torch
from torch import Tensor

from kdst_vec2text.models import Corrector, Hypothesiser, Inverter, t5_config

SHAPE = {
    "vocab_size": 50,
    "d_model": 16,
    "d_kv": 4,
    "num_heads": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 2,
}
State = dict[str, Tensor]


def network(kind: type[Inverter], dimension: int = 12, k: int = 3, **fields: object) -> Inverter:
    """A network of random weights, none of them at a start value such as 1 or 0."""
    torch.manual_seed(0)
    made = kind(t5_config({**SHAPE, **fields}), dimension, k).eval()
    generator = torch.Generator().manual_seed(1)
    for value in made.parameters():
        value.data = value.data + 0.2 * torch.randn(value.shape, generator=generator)
    return made


def state_of(made: Inverter) -> State:
    """Its weights in float64."""
    return {n: v.double() for n, v in made.state_dict().items()}


def embedding_map(state: State, name: str, e: Tensor, k: int) -> Tensor:
    """W₂ GELU(W₁ e + b₁) + b₂ as k tokens; the Gaussian error function written out."""
    inner = e @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"]
    gelu = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    z = gelu @ state[f"{name}.3.weight"].T + state[f"{name}.3.bias"]
    return z.reshape(len(e), k, -1)


def rms(x: Tensor, weight: Tensor) -> Tensor:
    """T5's norm: no mean is taken off."""
    return weight * x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def bucket(distance: int, both_sides: bool) -> int:
    """T5's bucket, of 32, of a relative position (memory minus query)."""
    count, base = (16, 16 if distance > 0 else 0) if both_sides else (32, 0)
    far = abs(distance) if both_sides else max(-distance, 0)
    exact = count // 2
    if far < exact:
        return base + far
    log = math.log(far / exact) / math.log(128 / exact) * (count - exact)
    return base + min(exact + int(log), count - 1)


def attention(
    state: State, name: str, x: Tensor, memory: Tensor, bias: Tensor, heads: int = 4
) -> Tensor:
    """softmax(q kᵀ + bias) v without scaling, head by head."""
    q, k, v = (
        (y @ state[f"{name}.{m}.weight"].T).unflatten(-1, (heads, -1)).transpose(1, 2)
        for m, y in (("q", x), ("k", memory), ("v", memory))
    )
    mixed = torch.softmax(q @ k.transpose(-1, -2) + bias, -1) @ v
    return mixed.transpose(1, 2).flatten(2) @ state[f"{name}.o.weight"].T


def position_bias(state: State, stack: str, length: int) -> Tensor:
    """(heads, length, length)."""
    name = f"encoder_decoder.{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    rows = [[bucket(j - i, stack == "encoder") for j in range(length)] for i in range(length)]
    return state[name][torch.tensor(rows)].permute(2, 0, 1)


def feed_forward(state: State, name: str, x: Tensor) -> Tensor:
    """ReLU, or GELU with a gate where the weights have one."""
    inner = rms(x, state[f"{name}.layer_norm.weight"])
    name = f"{name}.DenseReluDense"
    wide = torch.relu(inner @ state[f"{name}.wi.weight"].T)
    return wide @ state[f"{name}.wo.weight"].T


def t5(state: State, x: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
    """Logits (B, T, V) of a T5 of two layers that reads x (B, S, d) and has written tokens."""
    outside = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(mask == 0, -torch.inf)
    outside = outside[:, None, None]
    bias = position_bias(state, "encoder", x.shape[1]) + outside
    for i in range(2):
        block = f"encoder_decoder.encoder.block.{i}.layer"
        normed = rms(x, state[f"{block}.0.layer_norm.weight"])
        x = x + attention(state, f"{block}.0.SelfAttention", normed, normed, bias)
        x = x + feed_forward(state, f"{block}.1", x)
    memory = rms(x, state["encoder_decoder.encoder.final_layer_norm.weight"])
    y = state["encoder_decoder.shared.weight"][tokens]
    causal = torch.full((tokens.shape[1],) * 2, -torch.inf, dtype=y.dtype).triu(1)
    bias = position_bias(state, "decoder", tokens.shape[1]) + causal
    for i in range(2):
        block = f"encoder_decoder.decoder.block.{i}.layer"
        normed = rms(y, state[f"{block}.0.layer_norm.weight"])
        y = y + attention(state, f"{block}.0.SelfAttention", normed, normed, bias)
        normed = rms(y, state[f"{block}.1.layer_norm.weight"])
        y = y + attention(state, f"{block}.1.EncDecAttention", normed, memory, outside)
        y = y + feed_forward(state, f"{block}.2", y)
    y = rms(y, state["encoder_decoder.decoder.final_layer_norm.weight"]) * y.shape[-1] ** -0.5
    return y @ state["encoder_decoder.lm_head.weight"].T


def corrector_input(state: State, e: Tensor, e_hat: Tensor, x_hat: Tensor, k: int) -> Tensor:
    """LayerNorm([eos] T₁(e) [eos] T₃(ê) [eos] T₂(e - ê) [eos] emb(x̂)), token by token."""
    table = state["encoder_decoder.shared.weight"]
    eos = table[1].expand(len(e), 1, -1)
    maps = [
        embedding_map(state, f"embedding_transform_{i}", value, k)
        for i, value in ((1, e), (3, e_hat), (2, e - e_hat))
    ]
    rows = torch.cat([eos, maps[0], eos, maps[1], eos, maps[2], eos, table[x_hat]], 1)
    centred = rows - rows.mean(-1, keepdim=True)
    scale = torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)
    return centred / scale * state["layernorm.weight"] + state["layernorm.bias"]


def vectors(dimension: int, count: int = 2) -> Tensor:
    """Random vectors of length 1."""
    generator = torch.Generator().manual_seed(count)
    return torch.nn.functional.normalize(torch.randn(count, dimension, generator=generator))


X_HAT = torch.tensor([[7, 9, 30, 1, 0, 0], [8, 8, 9, 10, 4, 1]])
LABELS = torch.tensor([[7, 9, 31, 1], [8, 1, -100, -100]])
DECODED = torch.tensor([[0, 7, 9, 31], [0, 8, 1, 0]])


@pytest.mark.parametrize("dimension", [12, 32, 384])
def test_corrector_input_and_mask_equal_float64_rendering(dimension: int) -> None:
    made = network(Corrector, dimension)
    e, e_hat = vectors(dimension), vectors(dimension, 3)[:2]
    with torch.no_grad():
        embeds, mask = made.inputs(e, e_hat, X_HAT)
    plain = corrector_input(state_of(made), e.double(), e_hat.double(), X_HAT, 3)
    assert embeds.shape == (2, 4 + 3 * 3 + 6, 16)
    assert float((embeds - plain).abs().max()) < 1e-5
    assert mask.tolist() == [[1] * 13 + [1, 1, 1, 1, 0, 0], [1] * 13 + [1] * 6]
    with torch.no_grad():
        exact, _ = made.double().inputs(e.double(), e_hat.double(), X_HAT)
    assert float((exact - plain).abs().max()) < 1e-12


def test_an_official_corrector_reads_a_masked_start_token_before_the_hypothesis() -> None:
    made = network(Corrector)
    e, e_hat = vectors(12), vectors(12, 3)[:2]
    shifted = torch.nn.functional.pad(X_HAT, (1, 0))
    with torch.no_grad():
        wanted, mask = made.inputs(e, e_hat, shifted)
        made.starts = True
        found, seen = made.inputs(e, e_hat, X_HAT)
    assert torch.equal(found, wanted)
    assert torch.equal(seen, mask)
    assert seen[:, 13].tolist() == [0, 0]
    with torch.no_grad():
        begun = made.logits((found, seen), LABELS)
        made.starts = False
        plain = made.logits(made.inputs(e, e_hat, X_HAT), LABELS)
    assert float((begun - plain).abs().max()) > 1e-4, "positions move"


def test_corrector_forward_equals_float64_rendering() -> None:
    made = network(Corrector)
    e, e_hat = vectors(12), vectors(12, 3)[:2]
    state = state_of(made)
    plain = corrector_input(state, e.double(), e_hat.double(), X_HAT, 3)
    with torch.no_grad():
        inputs = made.double().inputs(e.double(), e_hat.double(), X_HAT)
        logits = made.logits(inputs, LABELS)
    rendered = t5(state, plain, inputs[1], DECODED)
    # Nothing that a text sees lies behind its padding.
    seen = LABELS != -100
    assert float((logits - rendered)[seen].abs().max()) < 1e-6
    assert float(rendered.abs().max()) > 0.5


def test_hypothesiser_forward_and_loss_equal_float64_rendering() -> None:
    made = network(Hypothesiser)
    e = vectors(12)
    state = state_of(made)
    plain = embedding_map(state, "embedding_transform", e.double(), 3)
    rendered = t5(state, plain, torch.ones(2, 3), DECODED)
    with torch.no_grad():
        inputs = made.inputs(e)
        loss = made.loss(inputs, LABELS)
    picked = rendered.log_softmax(-1).gather(-1, LABELS.clamp(min=0)[..., None])[..., 0]
    assert inputs[1].tolist() == [[1, 1, 1]] * 2
    assert float(loss) == pytest.approx(-float(picked[LABELS != -100].mean()), abs=1e-6)


def test_difference_goes_to_the_second_map_and_hypothesis_to_the_third() -> None:
    made = network(Corrector)
    e, e_hat = vectors(12), vectors(12, 3)[:2]
    with torch.no_grad():
        before, _ = made.inputs(e, e_hat, X_HAT)
        made.get_submodule("embedding_transform_2.3").bias += 1.0
        changed, _ = made.inputs(e, e_hat, X_HAT)
    moved = (before != changed).any(-1).all(0).nonzero()[:, 0].tolist()
    assert set(moved) <= set(range(9, 12)), "T₂ is not the last of the three"
    assert moved
