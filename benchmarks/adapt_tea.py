"""TEA against a plain rendering of the published algorithm: time, peak memory, accuracy of the fast profile.

`python benchmarks/adapt_tea.py [--rounds 3] [--only together|alone] [--keep]` first checks in float64
that the plain rendering and the published profile return the same logits from the same draws. Then it
measures a batch of the plain rendering, of `profile=published` and of `profile=fast` on one thread:
together, in turns in one process, and alone, each in a process of its own. Ours runs as the bench runs
it, keeping the memory that it frees; `--keep` lets the plain rendering keep its own too. The plain
rendering has a network written the usual way: ReLU makes a new tensor, the shortcut subsamples by
slicing. ResNet-20 with random weights, 32×32 images, batches of 200; or, with `--model
efficientnet-lite0 --batch 50 --sgld-steps 2 --only together`, EfficientNet-Lite0 on 224×224 images as its
package writes it, where fewer steps of SGLD keep the measurement short. Times are CPU time, that of the
system apart.

`--accuracy --data cifar10-c:DIR --weights FILE` compares the accuracy of the published and the fast
profile over all severities and three seeds, paired, by `kdst compare`; runs are kept under `--runs`.
"""

import argparse
import copy
import resource
import statistics
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from kdst_adapt.allocator import kept_memory
from kdst_adapt.models import packaged
from kdst_adapt.models.resnet import Block, ResNet
from kdst_core.contracts import AdaptRequest
from kdst_tea import Options
from kdst_tea.method import Tea

SHAPES = {"resnet20": (3, 32, 32), packaged.LITE: (3, 224, 224)}
CLASSES = {"resnet20": 10, packaged.LITE: 1000}
BUFFERS = {"resnet20": 10_000, packaged.LITE: 200}


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
    """Return a copy of a network; ResNet-20 computes the same in the plain way."""
    if not isinstance(model, ResNet):  # the package's own
        from efficientnet_lite_pytorch import EfficientNet

        net: nn.Module = EfficientNet.from_name(packaged.LITE)
        net.load_state_dict(model.state_dict())
        return net.eval()
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

    def __init__(
        self, model: nn.Module, shape: tuple[int, ...], options: Options, generator: Generator
    ) -> None:
        self.shape = shape
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
        empty = torch.empty(count, *self.shape, dtype=self.dtype)
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


def network(which: str) -> nn.Module:
    """Return ResNet-20 with seeded weights, or EfficientNet-Lite0 with its own."""
    torch.manual_seed(0)
    return (ResNet(3) if which == "resnet20" else packaged.load(which, None)[0]).eval()


def contestant(name: str, which: str, model: nn.Module, options: Options) -> "Plain | Tea":
    """Return the plain rendering or a profile of TEA, drawing from the same seed."""
    generator, shape = Generator().manual_seed(0), SHAPES[which]
    if name == "plain":
        return Plain(model, shape, options, generator)
    return Tea(AdaptRequest(model, CLASSES[which], shape, generator), options)


def options_of(name: str, which: str, steps: int | None) -> Options:
    """Return the options of a contestant; steps of SGLD, which the fast profile has of its own."""
    size = BUFFERS[which]
    if name == "fast":
        return Options(profile="fast", buffer_size=size)
    return Options(profile="published", buffer_size=size, sgld_steps=steps)


def seconds() -> tuple[float, float]:
    """Return the CPU time of this process so far: its own, and the system's for it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime


def check_equality() -> None:
    """Stop unless plain rendering and published profile agree within 1e-10 in float64."""
    model = network("resnet20").double()
    options = Options(profile="published", buffer_size=40, sgld_steps=5)
    plain, ours = (contestant(n, "resnet20", model, options) for n in ("plain", "published"))
    x = torch.rand(
        8, *SHAPES["resnet20"], dtype=torch.float64, generator=Generator().manual_seed(1)
    )
    gap = max((plain.predict(x) - ours.predict(x)).abs().max().item() for _ in range(3))
    print(f"largest difference of logits in float64 over 3 batches: {gap:.1e}")
    assert gap < 1e-10


def memory_of(name: str, keep: bool) -> AbstractContextManager[object]:
    """Keep the memory that a contestant frees, where not all of them do so already."""
    return nullcontext() if name == "plain" or keep else kept_memory()


def one_batch(method: "Plain | Tea", x: Tensor) -> tuple[float, float]:
    """Return the CPU time of adapting to a batch: the process's own, and the system's."""
    own, system = seconds()
    method.predict(x)
    now = seconds()
    return now[0] - own, now[1] - system


def said(times: list[tuple[float, float]]) -> str:
    """Return median and range of CPU times, and the median that the system has of it."""
    both = [sum(t) for t in times]
    spread = f"{min(both):.2f} to {max(both):.2f}"
    system = statistics.median(t[1] for t in times)
    return (
        f"{statistics.median(both):7.2f} s CPU a batch ({spread}), {system:.2f} of it the system's"
    )


def measure_time(which: str, batch: int, rounds: int, keep: bool, steps: int | None) -> None:
    """Print the median CPU time of a batch of each, measured in turns, after a small batch of each."""
    model, x = network(which), torch.rand(batch, *SHAPES[which])
    names = ("plain", "published", "fast")
    methods = {n: contestant(n, which, model, options_of(n, which, steps)) for n in names}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for method in methods.values():
        method.predict(x[:8])
    with kept_memory() if keep else nullcontext():
        for _ in range(rounds):
            for name, method in methods.items():
                with memory_of(name, keep):
                    times[name].append(one_batch(method, x))
    plain = statistics.median(map(sum, times["plain"]))
    for name, taken in times.items():
        ratio = plain / statistics.median(map(sum, taken))
        print(f"{name:<10} {said(taken)}   {ratio:5.2f} x faster")


def measure_alone(which: str, batch: int, rounds: int, keep: bool, steps: int | None) -> None:
    """Print peak memory and the CPU time of a batch of each in a process of its own, one at a time."""
    for name in ("plain", "published", "fast"):
        command = [sys.executable, __file__, "--alone", name, "--model", which]
        command += ["--batch", str(batch), "--rounds", str(rounds)]
        command += ["--keep"] * keep + (["--sgld-steps", str(steps)] if steps else [])
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{name:<10} {done.stdout.strip()}")


def alone(name: str, which: str, batch: int, rounds: int, keep: bool, steps: int | None) -> None:
    """Print this process's CPU time of a batch and its peak memory (Linux)."""
    shape = SHAPES[which]
    with kept_memory() if keep or name != "plain" else nullcontext():
        method = contestant(name, which, network(which), options_of(name, which, steps))
        method.predict(torch.rand(8, *shape))
        times = [one_batch(method, torch.rand(batch, *shape)) for _ in range(rounds)]
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's too
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"{said(times)}, {int(peak) / 1024:.0f} MiB at most")


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
    parser.add_argument("--model", choices=tuple(SHAPES), default="resnet20")
    parser.add_argument("--sgld-steps", type=int)
    parser.add_argument("--only", choices=("together", "alone"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.alone:
        alone(args.alone, args.model, args.batch, args.rounds, args.keep, args.sgld_steps)
    elif args.accuracy:
        measure_accuracy(args.data, args.weights, args.runs, args.jobs, args.batch)
    else:
        how = (args.model, args.batch, args.rounds, args.keep, args.sgld_steps)
        check_equality()
        if args.only != "alone":
            measure_time(*how)
        if args.only != "together":
            measure_alone(*how)


if __name__ == "__main__":
    main()
