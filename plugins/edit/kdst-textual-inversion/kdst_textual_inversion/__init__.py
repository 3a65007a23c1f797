"""Textual inversion: a new word is learned from a few images, then used in any prompt."""

from typing import TYPE_CHECKING

from kdst_core import Description, hookimpl
from kdst_textual_inversion.claims import CLAIMS
from kdst_textual_inversion.options import Options

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Learn a new word from a few images, then edit with it.",
        options=Options,
        paper="Gal et al., An Image is Worth One Word: Personalizing Text-to-Image Generation using"
        " Textual Inversion, ICLR 2023",
        url="https://arxiv.org/abs/2208.01618",
        licence="Apache-2.0",
        needs={"gradients"},
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Learn the word, then sample each target with it from the source's noise."""
    from kdst_textual_inversion.method import edit_with_new_word

    return edit_with_new_word(request, options, run)
