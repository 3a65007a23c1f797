"""python .ci/figures check | write | count | record PAGE [--command WORDS].

`check` says what is wrong with the figures of all pages, `write` writes their tables, `count` counts the
numbers without a mark, `record` takes those of a page into its file (see figures.recording).
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / ".ci"))

from figures import holding, pages, recording, records  # noqa: E402


def main(words: list[str]) -> int:
    """Carry out a command; 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python .ci/figures")
    parser.add_argument("task", choices=("check", "write", "count", "record"))
    parser.add_argument("page", nargs="*", type=Path)
    parser.add_argument("--command", help="what gives the figures; else looked for in the page")
    chosen = parser.parse_args(words)
    named = [page.resolve() for page in chosen.page] or pages.pages(ROOT)
    if chosen.task == "record":
        for page in named:
            recording.record(ROOT, page, chosen.command)
    if chosen.task == "write":
        write(named)
    return count(named) if chosen.task == "count" else check(named)


def write(named: list[Path]) -> None:
    """Write the tables of pages."""
    held = records.records(records.files(ROOT))
    for page in named:
        text = page.read_text(encoding="utf-8")
        page.write_text(holding.as_written(text, held), encoding="utf-8")


def count(named: list[Path]) -> int:
    """Print how many numbers of each page look measured and have no mark."""
    for page in named:
        parts = [p for p in pages.segments(page.read_text(encoding="utf-8")) if not p.sort]
        total = sum(len(holding.unmarked(part)) for part in parts)
        print(f"{total:5} in {len(parts):3} {page.relative_to(ROOT)}")
    return 0


def check(named: list[Path]) -> int:
    """Print what is wrong with pages and files."""
    held = records.records(records.files(ROOT))
    found = [*holding.of_files(ROOT)]
    for page in named:
        text = page.read_text(encoding="utf-8")
        found += [f"{page.relative_to(ROOT)}:{words}" for words in holding.complaints(text, held)]
    print("\n".join(found) or "every figure is recorded")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
