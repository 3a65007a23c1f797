"""Question answering and translation by models from a directory: tiny random ones here."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.models import layouts
from kdst_tools.models import pretrained as loaded
from kdst_tools.tools import qa, translate
from kdst_tools.tools.local import _best_span

WORDS = [
    "<pad>",
    "</s>",
    "<unk>",
    "fra_Latn",
    "eng_Latn",
    "where",
    "is",
    "it",
    "in",
    "Rome",
    "Oslo",
]


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=64,
    )  # fmt: skip


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("seq2seq")
    T5ForConditionalGeneration(config).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def extractive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("extractive")
    BertForQuestionAnswering(config).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def test_a_written_answer_is_the_models_own_greedy_output(seq2seq: Path) -> None:
    tool = qa.make(str(seq2seq))
    model = T5ForConditionalGeneration.from_pretrained(seq2seq)
    words = tokenizer()
    made = model.generate(**words("where is Rome", return_tensors="pt"), max_new_tokens=64,
                          do_sample=False)  # fmt: skip
    expected = words.decode(made[0], skip_special_tokens=True).strip()
    assert tool.name == "QA"
    if expected:
        assert tool("where is Rome", Document("x")) == expected
    else:
        with pytest.raises(ValueError, match="nothing"):
            tool("where is Rome", Document("x"))


def test_a_translation_begins_with_the_language_that_was_asked_for(seq2seq: Path) -> None:
    said = translate.make(f"{seq2seq}#Oslo")("Rome", Document("x"))
    assert said.split()[0] == "Oslo"
    with pytest.raises(KdstError, match="no token 'deu_Latn'"):
        translate.make(f"{seq2seq}#deu_Latn")


def test_an_extractive_answer_is_a_piece_of_the_document(extractive: Path) -> None:
    tool = qa.make(str(extractive))
    document = Document("it is in Rome")
    said = tool("where is it", document)
    assert said in document.text
    assert tool("where is it", document) == said
    with pytest.raises(ValueError, match="no text"):
        tool("where is it", Document(""))


def test_the_best_span_is_that_of_a_plain_search() -> None:
    generator = torch.Generator().manual_seed(3)
    start, end = torch.randn(2, 12, generator=generator)
    inside = torch.tensor([False] * 4 + [True] * 8)
    pairs = [(i, j) for i in range(4, 12) for j in range(i, 12)]
    assert _best_span(start, end, inside) == max(
        pairs, key=lambda p: float(start[p[0]] + end[p[1]])
    )


def test_a_directory_without_a_model_is_one_line(tmp_path: Path) -> None:
    for factory in (qa.make, translate.make):
        with pytest.raises(KdstError, match=r"holds no model|cannot be loaded"):
            factory(str(tmp_path))
        with pytest.raises(KdstError, match="no such directory"):
            factory("nowhere")


def test_damaged_weights_of_a_tool_are_one_line(extractive: Path, tmp_path: Path) -> None:
    shutil.copytree(extractive, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(KdstError, match="cannot be loaded as AutoModelForQuestionAnswering"):
        qa.make(str(tmp_path / "model"))


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "runs/one/model"])
def test_a_folder_that_is_not_there_is_no_name_of_a_hub(name: str) -> None:
    with pytest.raises(KdstError, match=f"--model {name}: there is no such folder"):
        loaded.load(name, "cpu")


def test_weights_that_files_lack_are_not_made_up(extractive: Path, tmp_path: Path) -> None:
    shutil.copytree(extractive, tmp_path / "model")
    weights = load_file(extractive / "model.safetensors")
    weights.pop("qa_outputs.weight")
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KdstError, match=r"not whole: its files lack the weight qa_outputs\.weight"):
        qa.make(str(tmp_path / "model"))


def test_a_language_model_without_some_weights_is_refused(tmp_path: Path) -> None:
    model, words = layouts.model("llama", 400), layouts.tokenizer()
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    assert loaded.load(str(tmp_path), "cpu")[0].config.vocab_size == 400
    weights = load_file(tmp_path / "model.safetensors")
    for name in ("lm_head.weight", "model.layers.1.mlp.up_proj.weight"):
        weights.pop(name)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KdstError, match=r"lack the weight lm_head\.weight and 1 more"):
        loaded.load(str(tmp_path), "cpu")
