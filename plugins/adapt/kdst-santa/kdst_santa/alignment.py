"""The contrastive alignment of SANTA (section 3.2): three views of every image, its prototype one."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init


def projector(inputs: int, outputs: int, generator: Generator) -> nn.Sequential:
    """Return two linear layers with ReLU between them, their weights drawn as torch draws them."""
    layers = [skip_init(nn.Linear, size, outputs) for size in (inputs, outputs)]
    for layer in layers:
        bound = layer.in_features**-0.5
        for parameter in layer.parameters():
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = bound * (2 * drawn - 1)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def nearest(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the prototype (B, d), of (C, d), of the highest cosine to each of features (B, d)."""
    cosine = F.normalize(features, dim=1) @ F.normalize(prototypes, dim=1).T
    return prototypes[cosine.argmax(1)]


def alignment(views: Tensor, temperature: float) -> Tensor:
    """Return the mean contrastive loss of views (V, N, d): those of one image attract, all others repel.

    Views are brought to length 1. Each of the V·N is compared with all but itself (equation 4), and the
    loss is the mean over the V − 1 others of its image.
    """
    count, size = views.shape[:2]
    z = F.normalize(views.flatten(0, 1), dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    log_p = similarity.log_softmax(1)
    image = torch.arange(size, device=z.device).repeat(count)
    positive = (image[:, None] == image) & ~itself
    return -log_p[positive].mean()
