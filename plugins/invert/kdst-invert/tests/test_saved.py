"""Directories of sentence-transformers: vectors as that library makes them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kdst_core.errors import KdstError
from kdst_invert.embedders.choose import choose
from kdst_invert.embedders.directory import encoder_of
from kdst_invert.embedders.minilm import minilm, package_directory
from kdst_invert.inputs import InvertInputs

TEXTS = ["Ann Lee has gout.", "a b", "Rain fell on the long road to the sea all day."]
MODES = ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens"]
MODES += ["weightedmean_tokens", "lasttoken"]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A small BERT of random weights in a directory."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = sorted({w for t in TEXTS for w in t.lower().replace(".", " .").split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", ":"]
    (tmp_path / "vocab.txt").write_text("\n".join([*special, *words]) + "\n")
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=32)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=16, **sizes)
    BertModel(config).save_pretrained(tmp_path)
    return tmp_path


def saved(
    folder: Path, poolings: list[str], modules: list[str], longest: int = 8, **prompts: Any
) -> InvertInputs:
    """Write what sentence-transformers writes, and the options that name the directory."""
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    listed = [
        {
            "idx": i,
            "name": str(i),
            "path": paths.get(kind, f"{i}_{kind}"),
            "type": kind if "." in kind else f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    flags = {f"pooling_mode_{mode}": mode in poolings for mode in MODES}
    pooling = {"word_embedding_dimension": 16, **flags}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    length = {"max_seq_length": longest, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(length))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return InvertInputs(embedder=str(folder))


@pytest.mark.parametrize("poolings", [[mode] for mode in MODES] + [["mean_tokens", "cls_token"]])
def test_poolings_and_length_are_those_of_the_library(bert: Path, poolings: list[str]) -> None:
    library = pytest.importorskip("sentence_transformers")
    inputs = saved(bert, poolings, ["Transformer", "Pooling", "Normalize"])
    found = choose(inputs, "cpu", "float32")
    wanted = library.SentenceTransformer(str(bert), device="cpu").encode(TEXTS)
    torch.testing.assert_close(found(TEXTS), torch.tensor(wanted), atol=1e-5, rtol=0)
    assert (found.dimension, found.normalised) == (16 * len(poolings), True)


def test_prompts_are_the_default_or_the_one_that_is_named(bert: Path) -> None:
    modules = ["Transformer", "Pooling"]
    plain = choose(saved(bert, ["mean_tokens"], modules, 20), "cpu", "float32")
    wanted = plain(["query: " + text for text in TEXTS])
    prompts = {"query": "query: ", "document": ""}
    inputs = saved(bert, ["mean_tokens"], modules, 20, prompts=prompts, default_prompt_name="query")
    assert torch.equal(choose(inputs, "cpu", "float32")(TEXTS), wanted)
    inputs = saved(bert, ["mean_tokens"], modules, 20, prompts=prompts)
    silent = choose(inputs, "cpu", "float32")
    assert torch.equal(silent(TEXTS), plain(TEXTS))
    assert "query" in silent.said[0]  # type: ignore[attr-defined]
    named = InvertInputs(embedder=str(bert), prompt="query")
    assert torch.equal(choose(named, "cpu", "float32")(TEXTS), wanted)
    with pytest.raises(KdstError, match="no prompt 'passage'; its prompts: query, document"):
        choose(InvertInputs(embedder=str(bert), prompt="passage"), "cpu")
    with pytest.raises(KdstError, match="not both"):
        choose(InvertInputs(embedder=str(bert), prompt="query", prefix="x"), "cpu")


def test_a_prefix_takes_the_place_of_the_default_prompt(bert: Path) -> None:
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    saved(bert, ["mean_tokens"], ["Transformer", "Pooling"], 20, **prompts)
    found = choose(InvertInputs(embedder=str(bert), prefix="a "), "cpu", "float32")
    saved(bert, ["mean_tokens"], ["Transformer", "Pooling"], 20)
    plain = choose(InvertInputs(embedder=str(bert)), "cpu", "float32")
    assert torch.equal(found(TEXTS), plain(["a " + text for text in TEXTS]))


def test_other_modules_are_the_library_s_or_one_line(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = saved(bert, ["mean_tokens"], ["Transformer", "Pooling", "Dense"])
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(KdstError, match="modules Transformer, Pooling, Dense, which need"):
        choose(inputs, "cpu")
    alone = choose(InvertInputs(embedder=str(bert), pooling="mean"), "cpu", "float32")
    assert "in place of the directory's modules" in alone.said[0]  # type: ignore[attr-defined]
    with pytest.raises(KdstError, match="code that comes with the model"):
        choose(saved(bert, ["mean_tokens"], ["Transformer", "custom.Module"]), "cpu")


def test_a_folder_outside_the_directory_is_refused(bert: Path) -> None:
    inputs = saved(bert, ["mean_tokens"], ["Transformer", "Pooling"])
    listed = json.loads((bert / "modules.json").read_text())
    listed[1]["path"] = "../elsewhere"
    (bert / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(KdstError, match="outside the directory"):
        choose(inputs, "cpu")


@pytest.mark.parametrize("whole", [True, False])
def test_a_directory_of_minilm_is_minilm(tmp_path: Path, whole: bool) -> None:
    for file in package_directory().rglob("*"):
        kept = whole or file.name not in ("modules.json", "sentence_bert_config.json")
        place = tmp_path / file.relative_to(package_directory())
        if file.is_file() and kept:
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(file)
    inputs = InvertInputs(embedder=str(tmp_path))
    found = encoder_of(tmp_path, inputs, "cpu", "float32")
    assert torch.equal(found(TEXTS), minilm(precision="float32")(TEXTS))
    assert found.normalised


def test_the_length_is_read_from_files_of_other_kinds_of_encoder(bert: Path) -> None:
    inputs = saved(bert, ["mean_tokens"], ["Transformer", "Pooling"], longest=4)
    (bert / "sentence_bert_config.json").rename(bert / "sentence_xlm-roberta_config.json")
    cut = choose(inputs, "cpu")
    (bert / "sentence_xlm-roberta_config.json").unlink()
    whole = choose(inputs, "cpu")
    long = [TEXTS[2]]
    assert not torch.allclose(cut(long), whole(long), atol=1e-4)


def test_prompts_that_are_no_object_are_refused(bert: Path) -> None:
    inputs = saved(bert, ["mean_tokens"], ["Transformer", "Pooling"], prompts=["query: "])
    with pytest.raises(KdstError, match="prompts must be an object"):
        choose(inputs, "cpu")
