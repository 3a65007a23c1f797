"""The embedded lexicon reads sentences that no template made."""

import numpy as np

from kdst_bow.lexicon import load
from kdst_bow.search import Search, SearchSettings
from kdst_invert.embedders.minilm import minilm
from kdst_invert.measures.recovery import token_f1

SENTENCES = [
    "The harbour was closed after a ship hit the northern wall.",
    "Two doctors said the new vaccine had no side effects.",
    "My phone battery died on the second day of the trip.",
    "The film is a slow comedy about a retired teacher.",
    "Farmers asked the president for lower taxes on milk.",
    "A young painter won the prize for her portrait of a dog.",
]


def test_more_is_read_than_the_regression_reads_and_than_chance() -> None:
    lexicon, embed = load("open"), minilm()
    lexicon.check(embed(SENTENCES), embed, asked=True)
    e = embed(SENTENCES).float()
    steps = list(Search(lexicon, embed, SearchSettings()).read(e, range(len(SENTENCES))))
    first, last = (
        [token_f1(t, s) for t, s in zip(i.texts, SENTENCES, strict=True)]
        for i in (steps[0], steps[-1])
    )
    others = [token_f1(t, s) for t, s in zip(steps[-1].texts, SENTENCES[1:], strict=False)]
    assert np.mean(last) > 0.4 > np.mean(first)
    assert np.mean(others) < 0.2
