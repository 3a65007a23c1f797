"""Weights of one checkpoint: read from a directory or the hub, old names included, and written."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from attrs import evolve
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdst_core.errors import KdstError, first_line
from kdst_core.files import whole_file
from kdst_vec2text.config import FIELDS, T5, CheckpointConfig
from kdst_vec2text.models import Corrector, Hypothesiser, Inverter, t5_config

Kind = Literal["hypothesiser", "corrector"]
CLASSES: Mapping[Kind, type[Inverter]] = {"hypothesiser": Hypothesiser, "corrector": Corrector}
TIED = tuple(T5 + n for n in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"))
HEAD, SHARED = T5 + "lm_head.weight", T5 + "shared.weight"
EMBEDDER = "embedder."
"""The official hypothesisers carry their embedder along; here it is asked through the request."""
NOT_IN_SHAPES = (
    "dropout_rate",
    "feed_forward_proj",
    "layer_norm_epsilon",
    "relative_attention_max_distance",
    "tie_word_embeddings",
)
"""Fields of a T5 that its weights do not show; written to `config.json`."""
STORES = ("model.safetensors", "pytorch_model.bin")


def locate(source: str) -> Path:
    """The directory of a checkpoint: one that exists, or the snapshot of a hub id (owner/name).

    `owner/name@revision` pins one. Raises KdstError where there is neither.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", source) or path.exists():
        raise KdstError(f"{source!r} is neither a directory nor a hub id (owner/name)")
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    patterns = ["*.json", "*.safetensors", "*.bin", "*.model"]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except Exception as e:
        reason = first_line(e)
        raise KdstError(
            f"{source!r} is no directory, and the hub has no such model at hand: {reason}"
        ) from e


def read_state(directory: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, from safetensors or torch's own format, in one file or several.

    Runs no code of the file. Raises KdstError where there is none or it cannot be read.
    """
    for store in STORES:
        files = _parts(directory / store)
        if files:
            state: dict[str, Tensor] = {}
            for file in files:
                state |= _read(file)
            return state
    raise KdstError(f"{directory} holds neither {' nor '.join(STORES)}")


def _parts(store: Path) -> list[Path]:
    """The files of a store: itself, or those that its index names."""
    index = store.with_name(store.name + ".index.json")
    if store.exists() or not index.exists():
        return [store] if store.exists() else []
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as e:
        raise KdstError(f"cannot read {index}: {e}") from e
    if any(Path(str(name)).name != name for name in names):
        raise KdstError(f"{index} names a file outside its directory")
    return [store.with_name(name) for name in sorted(names)]


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of one file."""
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as e:
        reason = first_line(e)
        raise KdstError(f"cannot read the weights {file}: {reason}") from e
    if not isinstance(found, dict) or not all(torch.is_tensor(v) for v in found.values()):
        raise KdstError(f"{file} is not a state dict of tensors")
    return found


def renamed(state: Mapping[str, Tensor], kind: Kind) -> dict[str, Tensor]:
    """A state dict under the names of today, without the embedder.

    Older hypothesisers name the second linear map `embedding_transform.2`; older correctors have one
    `embedding_transform`, which is copied to all three.
    """
    old = re.compile(r"^(embedding_transform(?:_[123])?)\.2\.(weight|bias)$")
    names = {n: old.sub(r"\1.3.\2", n) for n in state if not n.startswith(EMBEDDER)}
    found = {new: state[n] for n, new in names.items()}
    if kind == "corrector" and "embedding_transform.0.weight" in found:
        shared = [n for n in found if n.startswith("embedding_transform.")]
        for name in shared:
            value = found.pop(name)
            for i in (1, 2, 3):
                copy = name.replace("embedding_transform.", f"embedding_transform_{i}.")
                found.setdefault(copy, value.clone())
    return found


def build(kind: Kind, state: Mapping[str, Tensor], config: CheckpointConfig) -> Inverter:
    """A network of the state's shapes that holds its weights, in float32 and eval mode.

    Raises KdstError that names the first weight that is missing, unknown or of another shape.
    """
    state = renamed(state, kind)
    complete = config.completed(state)
    first = "embedding_transform" + ("_1" if kind == "corrector" else "")
    for name in (f"{first}.0.weight", f"{first}.3.weight"):
        if name not in state:
            raise KdstError(f"the {kind} has no weight {name!r}{_other_kind(state, kind)}")
    dimension = state[f"{first}.0.weight"].shape[1]
    k, rest = divmod(state[f"{first}.3.weight"].shape[0], complete.t5["d_model"])
    if rest or k != config.num_repeat_tokens:
        raise KdstError(
            f"{first}.3.weight of the {kind} makes {k} pseudo-tokens, but config.json says"
            f" num_repeat_tokens {config.num_repeat_tokens}"
        )
    with torch.random.fork_rng(devices=[]):  # a new T5 draws the weights that are replaced
        network = CLASSES[kind](t5_config(complete.t5), dimension, k)
    _load(network, state, kind)
    if isinstance(network, Corrector):
        network.starts = config.starts
    return network.eval()


def _other_kind(state: Mapping[str, Tensor], kind: Kind) -> str:
    """A hint where the two networks were mixed up."""
    mixed = any(n.startswith("embedding_transform") for n in state)
    other = "corrector" if kind == "hypothesiser" else "hypothesiser"
    return f"; it looks like a {other}" if mixed else ""


def _load(network: Inverter, state: dict[str, Tensor], kind: Kind) -> None:
    """Copy the weights in, every one of them."""
    expected = network.state_dict()
    given = dict(state)
    tied = network.encoder_decoder.config.tie_word_embeddings
    for name in (*TIED, *([HEAD] if tied else [])):
        given.setdefault(name, given[SHARED])
    missing = sorted(expected.keys() - given.keys())
    unknown = sorted(given.keys() - expected.keys())
    wrong = [n for n in expected if n in given and given[n].shape != expected[n].shape]
    if missing or unknown:
        what, name = ("no", missing[0]) if missing else ("an unknown", unknown[0])
        more = len(missing or unknown) - 1
        raise KdstError(
            f"the {kind} has {what} weight {name!r}" + (f" (and {more} more)" if more else "")
        )
    if wrong:
        name = wrong[0]
        raise KdstError(
            f"weight {name!r} of the {kind} has shape {tuple(given[name].shape)},"
            f" not {tuple(expected[name].shape)}"
        )
    network.load_state_dict({n: v.float() for n, v in given.items()}, strict=True)


def load_network(kind: Kind, directory: Path) -> tuple[Inverter, CheckpointConfig]:
    """The network in a directory with `config.json` and weights; KdstError says what is wrong."""
    config = CheckpointConfig.read(directory / "config.json")
    try:
        network = build(kind, read_state(directory), config)
    except KdstError as e:
        raise KdstError(f"{directory}: {e}") from e
    return network, evolve(config, embedder_dimension=network.dimension)


def save_network(
    network: Inverter, config: CheckpointConfig, directory: Path, dtype: torch.dtype
) -> None:
    """Write `config.json` and safetensors without the copies of tied weights."""
    directory.mkdir(parents=True, exist_ok=True)
    tied = network.encoder_decoder.config.tie_word_embeddings
    left_out = {*TIED, *([HEAD] if tied else [])}
    state = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in network.state_dict().items()
        if name not in left_out
    }
    with whole_file(directory / STORES[0]) as temporary:
        save_file(state, temporary)
    kept = {name: getattr(network.encoder_decoder.config, name) for name in NOT_IN_SHAPES}
    starts = network.starts if isinstance(network, Corrector) else None
    written_config = evolve(config, t5=kept, masked_start=starts)
    fields = {name: getattr(written_config, name) for name in FIELDS}
    written = {n: v for n, v in fields.items() if v is not None}
    (directory / "config.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
