"""Fit the embedded lexicon on files of English sentences, one a line.

    python -m recipes.bow FILE… --work FOLDER

Each sentence is cut to 16 of MiniLM's tokens. Vectors are kept in FOLDER, so that a fit that was stopped
goes on. The texts and their licences are in README.md beside this file.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import torch
from attrs import evolve
from safetensors.torch import load_file, save_file

from kdst_bow.lexicon import FILE, OPEN, fit
from kdst_core.files import whole_file

TOKENS = 16
SHARD = 4096


KNOWN = (
    "The ferry was late because of the fog.",
    "A small engine starts more easily in spring.",
    "She sold her bakery to a cousin last winter.",
    "Nobody had told the mayor about the bridge.",
    "The second album is better than the first.",
    "Our battery lasts two days at most.",
    "Parliament votes on the water bill tomorrow.",
    "He plays the villain with too much charm.",
)
"""Sentences of our own that tell MiniLM from other embedders; none of the training texts is kept."""


def cut(texts: Sequence[str]) -> list[str]:
    """Texts cut to 16 of MiniLM's tokens, its begin and end left out; equal ones once."""
    from kdst_invert.embedders.minilm import minilm

    tokenizer, found = minilm().tokenizer, []
    for text in texts:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in encoded["offset_mapping"]][:TOKENS]
        found.append(text[: ends[-1]].strip() if ends else "")
    return [text for text in dict.fromkeys(found) if text]


def vectors(texts: Sequence[str], work: Path) -> torch.Tensor:
    """Embeddings (n, 384), kept in `work` a shard at a time."""
    from kdst_invert.embedders.minilm import minilm

    embed, found = minilm(), []
    work.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(texts), SHARD):
        path = work / f"{start:07d}.safetensors"
        if not path.exists():
            e = embed(list(texts[start : start + SHARD])).float().contiguous()
            with whole_file(path) as part:
                save_file({"e": e}, part)
            click.echo(f"{start + SHARD}/{len(texts)}", err=True)
        found.append(load_file(path)["e"])
    return torch.cat(found)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Folder of vectors.")
@click.option("--vocabulary", default=12000, show_default=True, help="Most words.")
def main(files: Sequence[Path], work: Path, vocabulary: int) -> None:
    """Fit the embedded lexicon on FILES, a sentence a line."""
    from kdst_invert.embedders.minilm import minilm

    lines = [line for file in files for line in file.read_text(encoding="utf-8").split("\n")]
    texts = cut([line for line in lines if line.strip()])
    found = fit(texts, vectors(texts, work), "minilm", vocabulary, 1.0)
    known = list(KNOWN)
    evolve(found, texts=known, vectors=minilm()(known).float()).save(OPEN, torch.float16)
    click.echo(f"{len(texts)} texts, {len(found.words)} words: {OPEN / FILE}")


if __name__ == "__main__":
    main()
