"""Train the network of the digits, from the root of a clone: `python -m recipes.digits --out FILE`.

Clean training part only; shifts by up to two pixels are the only augmentation.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from kdst_adapt.default import data
from kdst_adapt.default.model import build


def tensors(train: bool) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 32, 32) and labels (N,)."""
    images, labels = data.load(train)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def shifted(x: Tensor, generator: Generator) -> Tensor:
    """Shift each image of a batch by up to two pixels in both directions."""
    padded = F.pad(x, (2, 2, 2, 2))
    dy, dx = torch.randint(0, 5, (2, len(x)), generator=generator)
    size = x.shape[-1]
    rows = [
        padded[i, :, a : a + size, b : b + size]
        for i, (a, b) in enumerate(zip(dy, dx, strict=True))
    ]
    return torch.stack(rows)


def train(epochs: int, seed: int) -> nn.Module:
    """Return the network after `epochs` epochs of SGD with a cosine schedule."""
    generator = Generator().manual_seed(seed)
    torch.manual_seed(seed)
    x, y = tensors(train=True)
    model, batch = build().train(), 50
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            loss = F.cross_entropy(model(shifted(x[rows], generator)), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.4f}", flush=True)
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, train: bool) -> float:
    """Return the accuracy on the clean training or test part."""
    x, y = tensors(train)
    return (model(x).argmax(1) == y).float().mean().item()


def main() -> None:
    """Train, score on the clean test part, and write the weights with both accuracies."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = train(args.epochs, args.seed)
    scores = {"train": accuracy(model, True), "test": accuracy(model, False)}
    print(", ".join(f"{part} accuracy {value:.4f}" for part, value in scores.items()))
    metadata = {f"accuracy.{part}": f"{value:.4f}" for part, value in scores.items()}
    save_file(model.state_dict(), args.out, metadata=metadata)


if __name__ == "__main__":
    main()
