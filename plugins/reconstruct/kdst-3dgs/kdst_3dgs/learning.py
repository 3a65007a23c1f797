"""What descends: the optimiser of each parameter of the Gaussians, and the part of a scene that is drawn."""

from typing import Any

import attrs
import torch

from kdst_3dgs.adam import VisibleAdam
from kdst_3dgs.ply import Parameters
from kdst_3dgs.scene import Scene

EXTENT = 1.0
"""Scene extent in the unit frame, in which the paper's learning rates and sizes count."""
REST = 1 / 20
"""Learning rate of higher harmonics, of that of the colours."""


def install(
    scene: Scene, parameters: Parameters, options: Any, device: str
) -> dict[str, torch.optim.Optimizer]:
    """Make `parameters` those of the scene, and return a fresh optimiser of each."""
    o = options
    rates = {"means": o.means_lr * EXTENT, "quats": o.quats_lr, "scales": o.scales_lr}
    rates |= {"opacities": o.opacities_lr, "sh": o.sh0_lr}
    threads = scene.rendering_threads
    scene.parameters.clear()
    found: dict[str, torch.optim.Optimizer] = {}
    for name, rate in rates.items():
        leaf = torch.nn.Parameter(parameters[name].to(device).float())
        scene.parameters[name] = leaf
        rest = REST if name == "sh" else 1.0
        found[name] = VisibleAdam([leaf], rate, rest_factor=rest, threads=threads)
    return found


def thinned(scene: Scene, rate: float, generator: torch.Generator) -> Scene:
    """Return the scene without a share of its Gaussians, chosen at random, the rest made denser for it
    (DropGaussian, CVPR 2025)."""
    if rate == 0:
        return scene
    logits = scene.parameters["opacities"]
    kept = torch.rand(logits.shape, generator=generator).to(logits.device) >= rate
    denser = (torch.sigmoid(logits) / (1 - rate)).clamp(max=0.999)
    left = torch.where(kept, torch.logit(denser), logits.new_tensor(-30.0))
    return attrs.evolve(scene, parameters=scene.parameters | {"opacities": left})
