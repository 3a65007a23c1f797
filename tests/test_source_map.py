"""The map of the source, `docs/source-map.md`: what it names exists, and no room is missing from it.

Names are looked up in the source; nothing is imported.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_house import BENCHES, ROOT, modules, nearest, package_folders

PAGE = ROOT / "docs" / "source-map.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOTTED = re.compile(r"kdst_\w+(?:\.\w+)+")
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
LINE_OF_TREE = re.compile(r"^( *)(\S+/)  +\S")


def code_spans(text: str) -> list[str]:
    """Return what stands between backquotes, fenced blocks left out."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```$", "", text))


def section(title: str) -> str:
    """Return the text below a heading of the page, up to the next one."""
    found = re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"))
    assert found, f"the page has no section {title!r}"
    return found[1]


def tree() -> list[str]:
    """Return the folders of the page's tree, each from the root of the repository."""
    block = re.search(r"(?ms)^```text\n(.*?)^```$", section("The tree"))
    assert block
    above: list[tuple[int, str]] = []
    found = []
    for line in block[1].splitlines():
        entry = LINE_OF_TREE.match(line)
        assert entry, f"no folder and what it holds: {line!r}"
        above = [(depth, name) for depth, name in above if depth < len(entry[1])]
        above.append((len(entry[1]), entry[2]))
        found.append("".join(name for _, name in above))
    return found


def rows(title: str) -> dict[str, str]:
    """Return the table below a heading: first cell without backquotes, to the second."""
    cells = re.findall(r"(?m)^\| `([^`|]+)` \| (.+) \|$", section(title))
    return dict(cells)


def rooms(folder: Path) -> set[str]:
    """Return the packages that lie in a package."""
    return {p.parent.name for p in folder.glob("*/__init__.py")}


def parts(folder: Path) -> set[str]:
    """Return the modules of a package and the packages in it, by name."""
    return rooms(folder) | {p.stem for p in folder.glob("*.py")} - {"__init__"}


@cache
def parsed(module: str) -> list[ast.stmt]:
    """Return the statements of one of our modules."""
    return ast.parse(modules()[module].read_text("utf-8")).body


def bound(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.AST | str]]:
    """Yield the names that statements bind, with the node, or where it is imported from."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((t.id, node) for t in targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((a.asname or a.name, f"{node.module}.{a.name}") for a in node.names)
        elif isinstance(node, ast.If):
            yield from bound([*node.body, *node.orelse])


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or what one defines: `module.Class.method`."""
    module = nearest(name)
    if not module:
        return False
    rest = name.removeprefix(module).strip(".")
    body = parsed(module)
    while rest:
        first, _, rest = rest.partition(".")
        node = dict(bound(body)).get(first)
        if isinstance(node, str):
            return exists(f"{node}.{rest}" if rest else node)
        if node is None:
            return False
        body = node.body if isinstance(node, ast.ClassDef) else []
    return True


def dotted(text: str) -> list[str]:
    """Return the dotted names of our packages in a page's code spans."""
    known = package_folders()
    found = (n for span in code_spans(text) for n in DOTTED.findall(span))
    return [n for n in found if n.partition(".")[0] in known]


def missing(paths: Iterable[str]) -> list[str]:
    """Return the paths, some with `*`, to which nothing in the repository belongs."""
    return [path for path in paths if not any(ROOT.glob(path.rstrip("/")))]


def test_what_is_not_there_is_seen() -> None:
    assert exists("kdst_tea.method.Tea.sample")
    assert exists("kdst_core.run")
    assert not exists("kdst_tea.method.Tea.sampled")
    assert not exists("kdst_tea.methods.Tea")
    assert not exists("kdst_core.runs.execute.run.out")
    assert not exists("kdst_nobody.method")
    assert missing(["kdst_core/runs/", "kdst_core/running/"]) == ["kdst_core/running/"]


def test_every_path_exists() -> None:
    named = [s for s in code_spans(PAGE.read_text("utf-8")) if "/" in s and PATH.fullmatch(s)]
    assert named
    assert missing([*tree(), *named]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_of_a_module_exists(page: Path) -> None:
    names = dotted(page.read_text("utf-8"))
    assert [name for name in names if not exists(name)] == []
    assert names or page != PAGE


def test_packages_of_the_map_are_packages() -> None:
    spans = re.findall(r"`(kdst_\w+)[.`]", PAGE.read_text("utf-8"))
    assert set(spans) <= set(package_folders())


def test_the_tree_shows_every_room() -> None:
    shown = set(tree())
    packages = {f"{p.parent.relative_to(ROOT)}/" for p in ROOT.glob("plugins/*/*/pyproject.toml")}
    core = {f"kdst_core/{name}/" for name in rooms(ROOT / "kdst_core")}
    assert packages | core <= shown


def test_the_table_of_modules_is_what_every_bench_has() -> None:
    shared = set.intersection(*(parts(package_folders()[b]) for b in BENCHES.values()))
    assert set(rows("What every bench has")) == shared


@pytest.mark.parametrize("bench", BENCHES.values())
def test_the_table_of_rooms_is_what_a_bench_has_besides(bench: str) -> None:
    folder = package_folders()[bench]
    told = re.findall(r"`(\w+)`", rows("What each bench has besides")[bench])
    assert sorted(told) == sorted(rooms(folder) - set(rows("What every bench has")))
