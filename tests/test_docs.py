"""Every block of the documentation does what the page says.

Blocks of commands and code are executed, in the order of the page, in one temporary folder. Those of the
pages in `QUICK` are part of the fast tests, the others are slow. What else a block is, a comment before it
says:

    <!-- not run: why -->           needs a GPU, a network, data or minutes
    <!-- slow: why -->              left out of the fast tests
    <!-- file: PATH -->             the content of a file
    <!-- replace in: PATH -->       definitions that take the place of those with their names
    <!-- install: FOLDER -->        an editable installation, which the test makes in its own folder

A command with a word in capitals or dots for the reader to fill in is a form: its flags must exist.
"""

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from doctest import script_from_examples
from itertools import pairwise
from pathlib import Path

import click
import pytest
from attrs import frozen

from kdst_batch.cli.compare import methods_command
from kdst_core.cli import cli
from kdst_core.plugins import registry
from tests import warm

pytestmark = pytest.mark.plugins

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUICK = ("tutorial.md",)
MARK = re.compile(r"^\s*<!-- (not run|slow|file|replace in|install): (.+) -->$")
FENCE = re.compile(r"^\s*```\s*(\w*)")
BLANK_TO_FILL_IN = re.compile(r"(?<![\w{])[A-Z][A-Z0-9_]*(?![\w}])|…|\.\.\.")
MOST_LINES = 40
"""What the tutorial's method may need of its own."""


@frozen
class Block:
    """A fenced block of a page: where it begins, its language, its text, and its mark."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    mark, inside, start, language = ("", ""), None, 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if inside is not None and fence:
            indent = min((len(x) - len(x.lstrip()) for x in inside if x.strip()), default=0)
            text = "\n".join(x[indent:] for x in inside) + "\n"
            yield Block(page, start, language, text, *mark)
            mark, inside = ("", ""), None
        elif fence:
            inside, start, language = [], number, fence[1]
        elif inside is not None:
            inside.append(line)
        elif found := MARK.match(line):
            mark = (found[1], found[2])
        elif line.strip():
            mark = ("", "")


def commands(block: Block) -> list[str]:
    """Return the commands of a console block, without comments and shown output."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    lines = [re.sub(r"(^|\s)# .*", "", line).strip() for line in lines]
    return [part for line in lines if line for part in re.split(r"\s+&&\s+", line)]


def is_form(command: str) -> bool:
    """Whether the reader has to fill something in."""
    words = re.sub(r"(?<=[\w-])=[^\s]*|^(\w+=\S+\s+)+", "", re.sub(r"\"[^\"]*\"", "", command))
    return bool(BLANK_TO_FILL_IN.search(words) or BLANK_TO_FILL_IN.search(command.split("=")[-1]))


ALL = [block for page in PAGES for block in blocks(page)]
CONSOLE = [b for b in ALL if b.language in ("console", "bash", "sh") and b.mark != "not run"]


@pytest.mark.parametrize("block", [b for b in ALL if b.language != "text"], ids=str)
def test_a_block_is_written_in_its_language(block: Block) -> None:
    if block.language in ("python", "pycon"):
        source = block.text if block.language == "python" else script_from_examples(block.text)
        for module, name in imported(ast.parse(source)):
            found = importlib.import_module(module)
            assert not name or hasattr(found, name) or importlib.import_module(f"{module}.{name}")
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "json":
        json.loads(block.text)
    else:
        assert block.language in ("console", "bash", "zsh", "fish", "bibtex", "html"), (
            "say what the block is"
        )


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield module and name of every import from a package of kdst that is installed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        else:
            continue
        for module, name in found:
            package = module.partition(".")[0]
            if package.startswith("kdst_") and importlib.util.find_spec(package):
                yield module, name


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_the_commands_and_flags_of_a_block_exist(block: Block) -> None:
    for command in commands(block):
        words = [w for w in shlex.split(command) if not re.fullmatch(r"\w+=.*", w)]
        if words[0] == "kdst":
            if block.page.name not in QUICK and "--help" not in words:
                flags_exist(words[1:], begun(block.page))
        elif words[:2] == ["pip", "install"]:
            paths = [path for e, path in pairwise(words) if e in ("-e", "-c")]
            assert block.mark == "install" or all((ROOT / p).exists() for p in paths), command
        elif words[0] == "nox":
            sessions = (ROOT / "noxfile.py").read_text(encoding="utf-8")
            names = [n for s, n in pairwise(words) if s == "-s"]
            assert all(f"def {n.partition('(')[0]}(" in sessions for n in names), command


def begun(page: Path) -> set[str]:
    """Return the methods that a page makes and installs."""
    made = (b.argument for b in ALL if b.page == page and b.mark == "install")
    return {name.removeprefix("kdst-") for name in made}


def flags_exist(words: list[str], begun: set[str]) -> None:
    """Look a command and its flags up in kdst itself.

    begun: methods that the page makes. For these, and for one that the reader chooses, any flag will do.
    """
    flags = {flag.partition("=")[0] for flag in words if flag.startswith("--")}
    names = [w.partition(":")[0] for w in words[1:] if not w.startswith("-")]
    context = click.Context(cli)
    command = cli.get_command(context, words[0])
    if words[0] == "compare":
        known = {m.name for m in registry.discover()}
        command = methods_command([name for name in dict.fromkeys(names) if name in known])
    elif isinstance(command, click.Group) and names:
        if names[0] in begun or BLANK_TO_FILL_IN.search(names[0]):
            return
        command = command.get_command(context, names[0])
    assert command is not None, f"kdst has no {shlex.join(words[:2])}"
    missing = flags - {"--help"} - options_of(command)
    assert not missing, f"kdst {words[0]} has no {', '.join(sorted(missing))}"


def options_of(command: click.Command) -> set[str]:
    """Return the long flags of a command."""
    return {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}


class Reader:
    """Follows a page in a folder of its own, with what it installs on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / ".installed"
        self.paths = [self.site, ROOT]
        self.own: list[str] = []

    def follow(self, block: Block) -> None:
        """Do what a block says; remember the lines that the reader writes of the method itself."""
        if block.mark in ("file", "replace in") and "tests" not in Path(block.argument).parts:
            self.own += [line for line in block.text.splitlines() if line.strip()]
        if block.mark == "file":
            self._write(self.folder / block.argument, block.text)
        elif block.mark == "replace in":
            path = self.folder / block.argument
            self._write(path, replaced(path.read_text(encoding="utf-8"), block.text))
        elif block.mark == "install":
            self._install(self.folder / block.argument)
        elif block.language in ("console", "bash", "sh"):
            for command in commands(block):
                if command.startswith(("kdst", "pytest", "python")) and not is_form(command):
                    self._run(block, command)

    def _write(self, path: Path, text: str) -> None:
        """Write a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _install(self, package: Path) -> None:
        """Put a package on the path with the metadata that pip would write; nothing is built."""
        project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        stem = f"{project['name'].replace('-', '_')}-{project['version']}"
        info = self.site / f"{stem}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.4", f"Name: {project['name']}"]
        lines += [f"Version: {project['version']}", f"Summary: {project['description']}"]
        lines += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
        (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        groups = project["entry-points"].items()
        entries = [f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for g, e in groups]
        (info / "entry_points.txt").write_text("\n".join(entries), encoding="utf-8")
        self.paths.insert(0, package)

    def _run(self, block: Block, command: str) -> None:
        """Run a command; it must end well."""
        program, *words = shlex.split(command)
        own = {"PYTHONPATH": os.pathsep.join(map(str, self.paths))}
        if program == "python" or not warm.available():
            done = self._fresh(program, words, own)
        else:
            module = {"kdst": "kdst_core"}.get(program, program)
            child = warm.python("-m", module, *words, cwd=self.folder, own=own)
            out, err = child.communicate(timeout=1800)
            done = subprocess.CompletedProcess(words, child.returncode, out, err)
        assert done.returncode == 0, (
            f"{block}: {command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )

    def _fresh(
        self, program: str, words: list[str], own: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program of Python in a process of its own."""
        module = {"kdst": ["-m", "kdst_core"], "pytest": ["-m", "pytest"], "python": []}[program]
        return subprocess.run(
            [sys.executable, *module, *words],
            cwd=self.folder,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=1800,
        )


def replaced(text: str, new: str) -> str:
    """Return a module with the definitions of `new` in place of its own of the same names."""
    definitions = (ast.ClassDef, ast.FunctionDef)

    def spans(source: str) -> dict[str, tuple[int, int]]:
        nodes = [n for n in ast.parse(source).body if isinstance(n, definitions)]
        first = {n.name: min([n.lineno, *(d.lineno for d in n.decorator_list)]) for n in nodes}
        return {n.name: (first[n.name] - 1, n.end_lineno or 0) for n in nodes}

    lines, fresh = text.splitlines(), new.splitlines()
    old, given = spans(text), spans(new)
    for name in sorted(given, key=lambda name: -old[name][0]):
        lines[slice(*old[name])] = fresh[slice(*given[name])]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", QUICK)
def test_a_page_can_be_followed_from_nothing(tmp_path: Path, name: str) -> None:
    reader = Reader(tmp_path)
    for block in blocks(ROOT / "docs" / name):
        if block.mark not in ("not run", "slow"):
            reader.follow(block)
    assert 0 < len(reader.own) <= MOST_LINES, "\n".join(reader.own)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(tmp_path: Path, page: Path) -> None:
    reader = Reader(tmp_path)
    for block in blocks(page):
        if block.mark != "not run":
            reader.follow(block)
