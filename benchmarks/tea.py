"""CPU time of one TEA batch against a plain rendering of the algorithm, in turns, with medians.

`python benchmarks/tea.py [--batch 200] [--sgld-steps 5] [--rounds 3]`: ResNet-20 with random weights,
32×32 images, one thread. The plain rendering is what one writes first: standard memory layout, gradients
kept for the normalisation layers while sampling.
"""

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn

from kdst_adapt.resnet import ResNet
from kdst_core.contracts import AdaptRequest
from kdst_tea import TeaOptions
from kdst_tea.tea import Tea

SHAPE = (3, 32, 32)


class Plain:
    """The algorithm box, written down."""

    def __init__(self, model: nn.Module, options: TeaOptions) -> None:
        self.model, self.options = copy.deepcopy(model).requires_grad_(False), options
        affine: list[nn.Parameter] = []
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = module.running_var = None
                affine += [p.requires_grad_() for p in module.parameters()]
        self.adam = torch.optim.Adam(affine, options.lr)
        self.buffer = torch.empty(options.buffer_size, *SHAPE).uniform_(-1, 1)

    def predict(self, x: Tensor) -> Tensor:
        """Adapt to a batch and return logits."""
        rows = torch.randint(0, len(self.buffer), (len(x),))
        fake = self.buffer[rows]
        for _ in range(self.options.sgld_steps):
            fake = fake.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.model(fake).logsumexp(1).sum(), fake)
            noise = self.options.sgld_std * torch.randn_like(fake)
            fake = fake.detach() + self.options.sgld_lr * gradient + noise
        self.buffer[rows] = fake
        loss = self.model(fake).logsumexp(1).mean() - self.model(x).logsumexp(1).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        with torch.no_grad():
            logits: Tensor = self.model(x)
        return logits


def main() -> None:
    """Measure both in turns and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--sgld-steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = ResNet(3).eval(), torch.rand(args.batch, *SHAPE)
    options = TeaOptions(sgld_steps=args.sgld_steps, buffer_size=1000)
    request = AdaptRequest(model, 10, SHAPE, torch.Generator().manual_seed(0))
    contestants = {"plain": Plain(model, options), "kdst-tea": Tea(request, options)}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(args.rounds + 1):
        for name, contestant in contestants.items():
            started = time.process_time()
            contestant.predict(x)
            if round_number:
                times[name].append(time.process_time() - started)
    for name, seconds in times.items():
        median = statistics.median(seconds)
        ratio = median / statistics.median(times["plain"])
        print(f"{name:<10} {median:7.3f} s CPU a batch   {ratio:.2f}x")


if __name__ == "__main__":
    main()
