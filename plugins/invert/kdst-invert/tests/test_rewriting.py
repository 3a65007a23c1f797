"""What was read is rewritten by words that stand in the same places of known texts."""

import functools
import random
from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_invert.attackers.cells import likelihood
from kdst_invert.attackers.places import learn_places, replaced, words
from kdst_invert.attackers.rewriting import measured, rewrite
from kdst_invert.defences.defence import unit
from kdst_invert.defences.lossy import Rounding

WHO = ["Ada", "Bea", "Cleo", "Dora", "Edda", "Fay", "Gwen", "Hope"]
WHERE = ["Rome", "Oslo", "Bern", "Riga", "Kiel", "Lund"]
FORMS = (
    "{who} was seen in {where} on {day} May.",
    "On {day} May we met {who}, who lives in {where}.",
)


@frozen
class Sums:
    """An embedder whose vectors are sums of one fixed vector a word."""

    name: str = "sums"
    dimension: int = 64
    normalised: bool = True

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return unit(torch.stack([sum(map(self.of, words(t)), torch.zeros(64)) for t in texts]))

    def of(self, word: str) -> Tensor:
        seed = sum(ord(c) * 31**i for i, c in enumerate(word))
        return torch.randn(64, generator=torch.Generator().manual_seed(seed))


def drawn(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        rng.choice(FORMS).format(
            who=rng.choice(WHO), where=rng.choice(WHERE), day=rng.randint(1, 28)
        )
        for _ in range(count)
    ]


def test_words_between_the_same_pieces_are_one_group() -> None:
    places = learn_places(drawn(60, 0))
    groups = [set(group) for group in places.members]
    assert set(WHO) in groups
    assert set(WHERE) in groups
    found = places.of("Zoe was seen in Rome on 3 May.")
    assert {i: places.members[g][0] in WHO for i, g in found.items() if i == 0} == {0: True}
    assert set(found) == {0, 4, 6}
    assert places.of("Nothing of this kind stands here at all") == {}


def test_words_of_readings_join_a_group_and_make_no_two_groups_one() -> None:
    known = drawn(60, 0)
    before = learn_places(known)
    readings = ["Zoe was seen in Rome on 3 May.", "Rome was seen in Ada on 3 May."]
    after = learn_places(known, readings)
    assert [set(a) - set(b) for a, b in zip(after.members, before.members, strict=True)].count(
        {"Zoe"}
    ) == 1
    assert after.group["Zoe"] == after.group["Ada"] != after.group["Rome"]


def test_a_word_is_replaced_and_the_rest_stays_as_it_is_written() -> None:
    assert replaced("On 3 May we met Ada, who left.", 5, "Bea") == "On 3 May we met Bea, who left."


def test_rewriting_reads_rounded_vectors_word_for_word() -> None:
    embed, known, truth = Sums(), drawn(60, 0), drawn(12, 1)
    stored = unit(Rounding(2).protect(embed(truth), torch.Generator()))
    vocabulary = measured(learn_places(known), embed)
    start = [next(k for k in known if (k[:3] == "On ") == (t[:3] == "On ")) for t in truth]
    likely = [functools.partial(likelihood, row, 2) for row in stored]
    found = rewrite(start, likely, vocabulary, embed)
    right = sum(one.text == text for one, text in zip(found, truth, strict=True))
    assert sum(a == b for a, b in zip(start, truth, strict=True)) == 0
    assert right >= 10
    assert all(one.calls > 1 for one in found)
    assert rewrite(start, likely, vocabulary, embed) == found


def test_a_text_like_no_known_one_stays() -> None:
    embed = Sums()
    vocabulary = measured(learn_places(drawn(60, 0)), embed)
    strange = "Nothing of this kind stands here at all"
    stored = embed(["Ada was seen in Rome on 3 May."])[0]
    (found,) = rewrite([strange], [functools.partial(likelihood, stored, 2)], vocabulary, embed)
    assert found.text == strange
    assert found.calls == 1
