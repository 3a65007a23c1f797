"""What Ray costs: shards of 100 ms against a plain loop, and a sweep's empty jobs by their number.

    python benchmarks/ray_overhead.py [--shards 200] [--pace 0.1] [--jobs 250,500,1000] [--out FILE.json]

Overhead of shards is, in each worker, the time from the beginning of its first shard to the end of its
last over the time of a plain loop over as many. The time until workers are there is apart. CPU is that
of this process and all below it over the whole map, over the shards: on a machine with other work it
says what wall time cannot. Memory is the driver's resident set, sampled when a map ends, less that
before it.
"""

import argparse
import json
import os
import resource
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from kdst_batch.executors import Executor
from kdst_batch.executors.named import make


def busy(pace: float) -> tuple[int, float, float]:
    """Work for some seconds of wall time; return in which process, from when, and until when."""
    began = time.monotonic()
    time.sleep(pace)
    return os.getpid(), began, time.monotonic()


def worker() -> Any:
    """Return the function of a worker."""
    return busy


def empty(job: int) -> int:
    """Do nothing."""
    return job


def loop(count: int, pace: float) -> float:
    """Return the seconds of a plain loop."""
    began = time.perf_counter()
    for _ in range(count):
        busy(pace)
    return time.perf_counter() - began


def shards(executor: Executor, count: int, pace: float) -> dict[str, float]:
    """Return seconds of a stream of shards, to the first shard, and what lies between shards."""
    began, cpu = time.monotonic(), tree_cpu()
    with closing(executor.map_records(worker, [pace] * count)) as calls:
        spans = [done.value for done in calls]
        cpu = tree_cpu() - cpu
    own: dict[int, list[tuple[float, float]]] = {}
    for process, start, end in spans:
        own.setdefault(process, []).append((start, end))
    ratios = [
        (max(e for _, e in times) - min(s for s, _ in times)) / (pace * len(times))
        for times in own.values()
    ]
    return {
        "seconds": time.monotonic() - began,
        "start": min(start for _, start, _ in spans) - began,
        "overhead": statistics.mean(ratios) - 1,
        "cpu_per_shard": cpu / count,
    }


def jobs(executor: Executor, count: int) -> dict[str, float]:
    """Return seconds and driver memory of independent jobs that do nothing."""
    before, began = resident(), time.perf_counter()
    with closing(executor.map_jobs(empty, range(count))) as calls:
        done = sum(1 for _ in calls)
    seconds = time.perf_counter() - began
    return {"jobs": done, "seconds": seconds, "grown_mb": resident() - before}


def tree_cpu() -> float:
    """Return the CPU seconds of this process and of all that live below it."""
    spent, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(words[1])
        spent[int(folder.name)] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return sum(s for number, s in spent.items() if _below(number, parents))


def _below(number: int, parents: dict[int, int]) -> bool:
    """Return whether a process is this one or descends from it."""
    while number > 1 and number != os.getpid():
        number = parents.get(number, 0)
    return number == os.getpid()


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure and print, a line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--pace", type=float, default=0.1, help="Seconds of work in a shard.")
    parser.add_argument("--jobs", default="250,500,1000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executors", default="processes,ray")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {"loop": loop(20, given.pace) / 20}
    print(f"plain loop: {found['loop']:.4f} s a shard", flush=True)
    for name in given.executors.split(","):
        with closing(make(name, given.workers)) as executor:
            found[name] = {"shards": shards(executor, given.shards, given.pace), "jobs": []}
            print(name, json.dumps(found[name]["shards"]), flush=True)
            for count in map(int, filter(None, given.jobs.split(","))):
                found[name]["jobs"].append(jobs(executor, count))
                print(name, json.dumps(found[name]["jobs"][-1]), flush=True)
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
