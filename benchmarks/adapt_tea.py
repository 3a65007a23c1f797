"""TEA against a plain rendering of the published algorithm: time, peak memory, accuracy of the fast profile.

`python benchmarks/adapt_tea.py [--rounds 3] [--only together|alone] [--keep]` first checks in float64
that the plain rendering and the published profile return the same logits from the same draws. Then it
measures a batch of the plain rendering, of `profile=published` and of `profile=fast` on one thread:
together, in turns in one process, and alone, each in a process of its own. Ours runs as the bench runs
it, keeping the memory that it frees; `--keep` lets the plain rendering keep its own too. The plain
rendering has a network written the usual way: ReLU makes a new tensor, the shortcut subsamples by
slicing. ResNet-20 with random weights, 32×32 images, batches of 200.

`--accuracy --data cifar10-c:DIR --weights FILE` compares the accuracy of the published and the fast
profile over all severities and three seeds, paired, by `kdst compare`; runs are kept under `--runs`.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from kdst_adapt.allocator import kept_memory
from kdst_adapt.models.resnet import Block, ResNet
from kdst_core.contracts import AdaptRequest
from kdst_tea import Options
from kdst_tea.method import Tea

SHAPE = (3, 32, 32)
BUFFER = 10_000


class PlainBlock(Block):
    """A residual block as one writes it first."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) to (B, planes, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        short = x[:, :, :: self.stride, :: self.stride]
        if self.padding:
            short = F.pad(short, (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(out + short)


class PlainResNet(ResNet):
    """The same network of plain blocks."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, 32, 32) to logits (B, 10)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(out.mean((2, 3)))
        return logits


def written_plainly(model: nn.Module) -> nn.Module:
    """Return a copy of ResNet-20 that computes the same in the plain way."""
    clone = copy.deepcopy(model)
    clone.__class__ = PlainResNet
    for module in clone.modules():
        if isinstance(module, Block):
            module.__class__ = PlainBlock
    return clone


class Plain:
    """The published algorithm as one writes it first.

    Standard layout; normalisation weights keep their gradients while samples are drawn; the graphs of
    every step and of the logits it returns are retained.
    """

    def __init__(self, model: nn.Module, options: Options, generator: Generator) -> None:
        self.model, self.options = written_plainly(model).requires_grad_(False), options
        self.generator = generator
        affine: list[nn.Parameter] = []
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = module.running_var = None
                affine += [p.requires_grad_() for p in module.parameters()]
        self.adam = torch.optim.Adam(affine, options.lr)
        self.dtype = affine[0].dtype
        self.buffer = self.noise(options.buffer_size)

    def noise(self, count: int) -> Tensor:
        """Return samples to start from."""
        empty = torch.empty(count, *SHAPE, dtype=self.dtype)
        return empty.uniform_(-1, 1, generator=self.generator)

    def sample(self, count: int) -> Tensor:
        """Draw samples of the model by SGLD and put them into the buffer."""
        rows = torch.randint(0, len(self.buffer), (count,), generator=self.generator)
        fresh = self.noise(count)
        again = torch.rand(count, generator=self.generator) < self.options.reinit
        x = torch.where(again[:, None, None, None], fresh, self.buffer[rows]).requires_grad_()
        for _ in range(self.options.sgld_steps):
            gradient = torch.autograd.grad(self.model(x).logsumexp(1).sum(), x, retain_graph=True)
            noise = torch.randn(x.shape, generator=self.generator, dtype=self.dtype)
            x.data += self.options.sgld_lr * gradient[0] + self.options.sgld_std * noise
        self.buffer[rows] = x.detach()
        return x.detach()

    def predict(self, x: Tensor) -> Tensor:
        """Adapt to a batch and return logits."""
        fake = self.sample(len(x))
        loss = self.model(fake).logsumexp(1).mean() - self.model(x).logsumexp(1).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        logits: Tensor = self.model(x)
        return logits


def network() -> nn.Module:
    """Return ResNet-20 with seeded weights."""
    torch.manual_seed(0)
    return ResNet(3).eval()


def contestant(name: str, model: nn.Module, options: Options) -> "Plain | Tea":
    """Return the plain rendering or a profile of TEA, drawing from the same seed."""
    generator = Generator().manual_seed(0)
    if name == "plain":
        return Plain(model, options, generator)
    return Tea(AdaptRequest(model, 10, SHAPE, generator), options)


def options_of(name: str) -> Options:
    """Return the options of a contestant."""
    return Options(profile="fast" if name == "fast" else "published", buffer_size=BUFFER)


def check_equality() -> None:
    """Stop unless plain rendering and published profile agree within 1e-10 in float64."""
    model = network().double()
    options = Options(profile="published", buffer_size=40, sgld_steps=5)
    plain, ours = (contestant(n, model, options) for n in ("plain", "published"))
    x = torch.rand(8, *SHAPE, dtype=torch.float64, generator=Generator().manual_seed(1))
    gap = max((plain.predict(x) - ours.predict(x)).abs().max().item() for _ in range(3))
    print(f"largest difference of logits in float64 over 3 batches: {gap:.1e}")
    assert gap < 1e-10


def memory_of(name: str, keep: bool) -> AbstractContextManager[None]:
    """Keep the memory that a contestant frees; that of the plain rendering only if `keep`."""
    return nullcontext() if name == "plain" and not keep else kept_memory()


def measure_time(batch: int, rounds: int, keep: bool) -> None:
    """Print the median CPU time of a batch of each, measured in turns, after a small batch of each."""
    model, x = network(), torch.rand(batch, *SHAPE)
    names = ("plain", "published", "fast")
    methods = {n: contestant(n, model, options_of(n)) for n in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for method in methods.values():
        method.predict(x[:8])
    for _ in range(rounds):
        for name, method in methods.items():
            with memory_of(name, keep):
                started = time.process_time()
                method.predict(x)
                times[name].append(time.process_time() - started)
    plain = statistics.median(times["plain"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{name:<10} {median:7.2f} s CPU a batch ({spread})   {plain / median:5.2f} x faster")


def measure_alone(batch: int, rounds: int, keep: bool) -> None:
    """Print peak memory and the CPU time of a batch of each in a process of its own, one at a time."""
    for name in ("plain", "published", "fast"):
        command = [sys.executable, __file__, "--alone", name]
        command += ["--batch", str(batch), "--rounds", str(rounds)]
        command += ["--keep"] * keep
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{name:<10} {done.stdout.strip()}")


def alone(name: str, batch: int, rounds: int, keep: bool) -> None:
    """Print this process's CPU time of a batch and its peak memory (Linux)."""
    with memory_of(name, keep):
        method = contestant(name, network(), options_of(name))
        method.predict(torch.rand(8, *SHAPE))
        times = []
        for _ in range(rounds):
            started = time.process_time()
            method.predict(torch.rand(batch, *SHAPE))
            times.append(time.process_time() - started)
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's too
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    spread = f"{min(times):.2f} to {max(times):.2f}"
    print(
        f"{statistics.median(times):7.2f} s CPU a batch ({spread}), {int(peak) / 1024:.0f} MiB at most"
    )


def measure_accuracy(data: str, weights: Path, runs: Path, jobs: int, batch: int) -> None:
    """Print the accuracy of both profiles over 5 severities and 3 seeds, and the paired difference."""
    command = [sys.executable, "-m", "kdst_core", "compare", "tea:profile=published"]
    command += ["tea:profile=fast", "--seeds", "0-2", "--severity", "1-5", "--data", data]
    command += ["--model", "resnet20", "--weights", str(weights), "--batch-size", str(batch)]
    command += ["--threads", "1"]
    subprocess.run([*command, "--runs", str(runs), "--jobs", str(jobs)], check=True)


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--data", default="")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--alone", default="")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--only", choices=("together", "alone"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.alone:
        alone(args.alone, args.batch, args.rounds, args.keep)
    elif args.accuracy:
        measure_accuracy(args.data, args.weights, args.runs, args.jobs, args.batch)
    else:
        check_equality()
        if args.only != "alone":
            measure_time(args.batch, args.rounds, args.keep)
        if args.only != "together":
            measure_alone(args.batch, args.rounds, args.keep)


if __name__ == "__main__":
    main()
