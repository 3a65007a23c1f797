"""Figures of a comparison: methods can be told apart."""

from kdst_adapt.compare import pairing
from kdst_adapt.compare.figures import _style


def test_methods_of_one_colour_have_points_of_their_own() -> None:
    """Dashes alone do not show in a legend, where a point covers the short line."""
    styles = [_style(number) for number in range(18)]
    assert len({(style["color"], style["marker"]) for style in styles}) == 18


def test_other_files_of_classes_are_another_protocol() -> None:
    ours, theirs, moved = (
        {"input": {"classes": c}, "seed": 0} for c in ("/a/one.txt", "/a/two.txt", "/b/one.txt")
    )
    assert "classes is one.txt" in pairing.mismatch(ours, theirs)
    assert not pairing.mismatch(ours, moved)
