"""The shape of the repository: who may import whom, and which modules every bench has."""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "plugins"
if not PLUGINS.is_dir():
    pytest.skip("the repository's plugins are not here", allow_module_level=True)

BENCHES = {
    "adapt": "kdst_adapt",
    "reconstruct": "kdst_reconstruct",
    "edit": "kdst_edit",
    "tools": "kdst_tools",
    "invert": "kdst_invert",
}
"""Folder of a capability to the package of its bench."""
MODULES = (
    "bench",
    "inputs",
    "options",
    "load",
    "loop",
    "measures",
    "outcome",
    "report",
    "compare",
    "kit",
    "checks",
    "default",
)
"""What every bench has, each a module or a package."""
ON_COMMANDS = ("kdst_authors", "kdst_claims", "kdst_environments")
"""Packages of commands that stand on the others; these may not import them."""
LINES_OF_A_BENCH = 100
"""The most lines of an entry object: it forwards."""
LINES_OF_CODE = 4000
"""The most lines of the core without blank ones, comments and docstrings."""
LINES_OF_THE_CORE = 6180
"""The most lines of Python in the core, templates not counted; the number may only fall."""


def package_folders() -> dict[str, Path]:
    """Return every package that a wheel holds, name to folder."""
    found = (p.parent for p in PLUGINS.glob("*/*/kdst_*/__init__.py"))
    return {p.name: p for p in (ROOT / "kdst_core", *found)}


@cache
def modules() -> dict[str, Path]:
    """Return every module of every package, dotted name to file; templates are none."""
    return {
        dotted(file, folder): file
        for folder in package_folders().values()
        for file in sorted(folder.rglob("*.py"))
    }


def dotted(file: Path, folder: Path) -> str:
    """Return the name under which Python imports a file of a package."""
    parts = file.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def nearest(name: str) -> str:
    """Return the module that a dotted name lies in; '' where it is none of ours."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name


def is_typing(node: ast.AST) -> bool:
    """Return whether a statement is `if TYPE_CHECKING:`, which nothing carries out."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def carried_out(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree's nodes but for those that only type checkers read."""
    yield node
    children = node.orelse if isinstance(node, ast.If) and is_typing(node) else None
    for child in ast.iter_child_nodes(node) if children is None else children:
        yield from carried_out(child)


def names_imported(node: ast.AST, package: list[str]) -> list[str]:
    """Return the dotted names that an import statement asks for, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = package[: len(package) - node.level + 1] if node.level else []
    base = ".".join([*above, *filter(None, [node.module])])
    return [f"{base}.{alias.name}" for alias in node.names]


@cache
def imports() -> dict[str, set[str]]:
    """Return which of our modules each module imports, at its top or within a function."""
    graph = {}
    for name, file in modules().items():
        package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
        tree = ast.parse(file.read_text(encoding="utf-8"))
        asked = (n for node in carried_out(tree) for n in names_imported(node, package))
        graph[name] = {nearest(n) for n in asked} - {"", name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the names along one circle of a graph; empty where it has none."""
    left: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in left:
            return []
        for other in sorted(graph.get(name, ())):
            if met := walk(other, [*path, name]):
                return met
        left.add(name)
        return []

    return next((met for name in sorted(graph) if (met := walk(name, []))), [])


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bench", BENCHES.values(), ids=BENCHES)
def test_every_bench_has_the_same_modules(bench: str, module: str) -> None:
    folder = package_folders()[bench]
    assert (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file()


@pytest.mark.parametrize("bench", BENCHES.values(), ids=BENCHES)
def test_an_entry_object_forwards_only(bench: str) -> None:
    lines = (package_folders()[bench] / "bench.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LINES_OF_A_BENCH


@pytest.mark.parametrize("package", sorted(package_folders()))
def test_no_package_imports_in_a_circle(package: str) -> None:
    own = {
        name: {o for o in others if o.partition(".")[0] == package}
        for name, others in imports().items()
        if name.partition(".")[0] == package
    }
    assert circle(own) == []


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def kind(package: str) -> tuple[str, float]:
    """Return a package's folder and how high it stands: core, commands, benches, methods."""
    if package == "kdst_core":
        return "core", 0
    room = package_folders()[package].parent.parent.name
    if package in ON_COMMANDS:
        return room, 1.5
    return room, 1 if room == "commands" else 2 if package in BENCHES.values() else 3


def test_imports_between_packages_point_down_only() -> None:
    wrong = []
    for name, others in imports().items():
        package = name.partition(".")[0]
        room, height = kind(package)
        for other in {o.partition(".")[0] for o in others} - {package}:
            below, base = kind(other)
            if base >= height or below not in ("core", "commands", room):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_all_packages_are_built_alike() -> None:
    """So that one that is built on another Python stands for all."""
    projects = [ROOT / "pyproject.toml", *PLUGINS.glob("*/*/pyproject.toml")]
    read = [tomllib.loads(path.read_text(encoding="utf-8"))["build-system"] for path in projects]
    assert all(build == read[0] for build in read)


def test_nothing_imports_the_command() -> None:
    wrong = [
        name
        for name, others in imports().items()
        if not name.startswith(("kdst_core.cli", "kdst_core.__main__"))
        and any(other.startswith("kdst_core.cli") for other in others)
    ]
    assert wrong == []


def test_files_are_put_in_place_by_one_module() -> None:
    moves = re.compile(r"\bos\.(?:replace|rename)\(")
    home = "kdst_core.files"
    wrong = [n for n, f in modules().items() if n != home and moves.search(f.read_text("utf-8"))]
    assert wrong == []
    assert moves.search(modules()[home].read_text("utf-8"))


def test_no_module_of_a_wheel_serves_recipes_alone() -> None:
    used = {o for others in imports().values() for o in others}
    recipes = [ast.parse(f.read_text("utf-8")) for f in sorted((ROOT / "recipes").rglob("*.py"))]
    assert recipes
    trained_with = {
        nearest(n)
        for tree in recipes
        for node in ast.walk(tree)
        for n in names_imported(node, [])
        if n.startswith("kdst_")
    }
    entered = entry_points()
    alone = {
        name
        for name in trained_with - used - {""}
        if name not in entered and not name.endswith("__main__") and name not in package_folders()
    }
    assert alone == set()


def entry_points() -> set[str]:
    """Return the modules that packages name as their entry points."""
    texts = [
        f.read_text("utf-8") for f in (ROOT / "pyproject.toml", *PLUGINS.glob("*/*/pyproject.toml"))
    ]
    return {nearest(n) for text in texts for n in re.findall(r'= "(kdst_[\w.]+)', text)}


SILENT = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
)
"""Tokens that are no code."""


def lines_of_code(source: str) -> int:
    """Return how many lines of a module are neither blank nor comments nor docstrings."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if ast.get_docstring(node) is not None else None
            docs |= set(range(first.lineno, (first.end_lineno or 0) + 1)) if first else set()
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docs)


def test_lines_of_code_are_counted_without_what_only_people_read() -> None:
    source = '"""Module."""\n\n# comment\nX = """\ntext\n"""\n"""Of X."""\n'
    method = 'class C:\n    """Of\n    C."""\n\n    def f(self):\n        "Of f."\n        return 1  # one\n'
    assert lines_of_code(source) == 4
    assert lines_of_code(source + method) == 4 + 3


def test_the_core_is_small() -> None:
    files = [f for n, f in modules().items() if n.partition(".")[0] == "kdst_core"]
    texts = [f.read_text(encoding="utf-8") for f in files]
    assert sum(map(lines_of_code, texts)) < LINES_OF_CODE
    assert sum(len(text.splitlines()) for text in texts) < LINES_OF_THE_CORE
