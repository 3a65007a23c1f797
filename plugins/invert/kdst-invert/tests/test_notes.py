"""The synthetic notes: parts that share no full name, known fields, repeatable."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_invert.default import training
from kdst_invert.default.names import FIRST, LAST, is_held_out, says_held_out
from kdst_invert.default.notes import close_notes, near_notes, notes, rewritten
from kdst_invert.default.words import DRUGS, TEMPLATES
from kdst_invert.measures.recovery import says


def test_lists_are_large_and_hold_nothing_twice() -> None:
    assert len(TEMPLATES) >= 20
    assert len(FIRST) == len(set(FIRST)) >= 200
    assert len(LAST) == len(set(LAST)) >= 300
    assert len(DRUGS) >= 30


def test_no_full_name_of_the_held_out_notes_occurs_in_training() -> None:
    held = {n.fields["name"] for n in notes("held-out", 2000)}
    seen = [notes("train", training.BASE)]
    seen += [near_notes("train", training.BASE, copy=copy) for copy in range(training.COPIES)]
    few, seed = training.FAMILIES, training.CLOSE_SEED
    seen += [notes("train", few, seed)]
    seen += [close_notes("train", few, seed, copy=i) for i in range(training.CLOSE_COPIES)]
    assert not held & {n.fields["name"] for part in seen for n in part}
    assert [n.text for part in seen for n in part] == training.training_texts()


def test_texts_that_say_a_held_out_name_are_told() -> None:
    assert all(says_held_out(n.text) for n in notes("held-out", 300))
    assert not any(says_held_out(n.text) for n in notes("train", 300))


def test_every_single_name_occurs_in_training() -> None:
    free = {(i, j) for i in range(len(FIRST)) for j in range(len(LAST)) if not is_held_out(i, j)}
    assert {i for i, _ in free} == set(range(len(FIRST)))
    assert {j for _, j in free} == set(range(len(LAST)))
    share = 1 - len(free) / (len(FIRST) * len(LAST))
    assert share == pytest.approx(0.1, abs=0.01)


@given(st.integers(0, 50), st.integers(0, 500))
@settings(max_examples=40, deadline=None)
def test_a_note_holds_its_fields_and_is_the_same_again(seed: int, start: int) -> None:
    found = notes("held-out", 3, seed, start)
    assert found == notes("held-out", 3, seed, start)
    for note in found:
        assert {"name", "condition", "drug"} <= set(note.fields)
        assert {"age", "date"} & set(note.fields)
        assert all(says(note.text, value) for value in note.fields.values())


def test_near_notes_differ_in_little_and_stay_in_their_part() -> None:
    first, near = notes("train", 200), near_notes("train", 200)
    held = {n.fields["name"] for n in notes("held-out", 2000)}
    same = [
        sum(a.fields.get(k) == v for k, v in b.fields.items())
        for a, b in zip(first, near, strict=True)
    ]
    assert sum(same) / len(same) > 2
    assert not held & {n.fields["name"] for n in near}


def test_close_notes_keep_template_and_condition() -> None:
    for before, after in zip(notes("train", 100), close_notes("train", 100), strict=True):
        assert before.fields.keys() == after.fields.keys()
        assert before.fields["condition"] == after.fields["condition"]
        changed = [k for k, v in before.fields.items() if after.fields[k] != v]
        assert len(changed) <= 2


def test_a_rewritten_note_says_the_same_in_another_template() -> None:
    for before, after in zip(notes("train", 50), rewritten("train", 50), strict=True):
        assert before.text != after.text
        common = set(before.fields) & set(after.fields)
        assert {"name", "condition", "drug"} <= common
        assert all(before.fields[k] == after.fields[k] for k in common)


def test_the_closest_training_text_is_found_by_its_words() -> None:
    texts = ["a red fox ran", "the cat sat on the mat", "one two three"]
    assert training.closest_by_words(["a cat sat on a mat"], texts, 1) == [[1]]
