"""Noise estimates of a network for several texts, and where the words of each attend."""

from collections.abc import Sequence

from attrs import frozen
from torch import Tensor

from kdst_core.contracts import EditRequest
from kdst_edit.control.session import Control, Row
from kdst_edit.kit import texts
from kdst_edit.models.latents import condition, latent_factor
from kdst_edit.sampling.guided import Guided
from kdst_edit.sampling.sample import Branch, Network
from kdst_edit.sampling.schedule import Step
from kdst_edit.words import all_positions


@frozen
class Estimates:
    """What a network says of rows of latents, each under one text; negative texts are unconditional."""

    guided: Guided

    @classmethod
    def of(
        cls, request: EditRequest, prompts: Sequence[str], negative: Sequence[int]
    ) -> "Estimates":
        """Encode a text a row; negative: the rows of the negative prompt."""
        height, width = request.latents.shape[-2:]
        factor = latent_factor(request.pipeline)
        words = condition(
            request.pipeline, prompts, (height * factor, width * factor), negative=negative
        )
        branches = [Branch(prompt, guidance=1.0) for prompt in prompts]
        rows = [Row(number, True) for number in range(len(prompts))]
        network = Network(request.pipeline, rows, words, None, {})
        return cls(Guided(network, branches, rows, request.max_rows))

    def __call__(self, x: Tensor, step: Step, number: int, control: Control) -> Tensor:
        """Return ε (B, C, h, w) of latents x (B, C, h, w), one a row."""
        output = self.guided(x, step.timestep, number, control)
        control.call = None
        return step.x0_and_epsilon(x, output, step.alpha)[1]


def tokens(request: EditRequest, text: str) -> list[int]:
    """Return the positions of a text's tokens in what attention sees."""
    return sorted({p for at in all_positions(texts(request), text) for p in at})
