"""Sessions of the project: `nox -s tests`, `nox -s demo`, `nox -l` for the list.

Every session installs through constraints.txt into an environment of its own.
"""

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
PLUGINS = {p.parent.name: str(p.parent) for p in sorted(Path("plugins").glob("*/*/pyproject.toml"))}
"""Distribution to folder, every plugin of the repository."""
NEEDS = {
    "kdst-3dgs": ["kdst-reconstruct"],
    "kdst-eata": ["kdst-adapt"],
    "kdst-masactrl": ["kdst-edit"],
    "kdst-p2p": ["kdst-edit"],
    "kdst-pl": ["kdst-adapt"],
    "kdst-pnp": ["kdst-edit"],
    "kdst-sar": ["kdst-adapt"],
    "kdst-shot": ["kdst-adapt"],
    "kdst-tea": ["kdst-adapt"],
    "kdst-tent": ["kdst-adapt"],
    "kdst-textual-inversion": ["kdst-edit"],
}
"""Plugins of the repository that a plugin builds on."""
TEST_TOOLS = ("pytest", "hypothesis")


def install(session: nox.Session, *plugins: str, tools: tuple[str, ...] = TEST_TOOLS) -> None:
    """Install the core and plugins, editable, with tools, in one resolution."""
    folders = [".", *(PLUGINS[p] for p in plugins)]
    editable = [word for folder in folders for word in ("-e", folder)]
    session.install(*CONSTRAINTS, *editable, *tools)


@nox.session
def demo(session: nox.Session) -> None:
    """Run TEA on the embedded digits."""
    install(session, *PLUGINS, tools=())
    session.run("kdst", "run", "tea", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all fast tests with every plugin installed."""
    install(session, *PLUGINS)
    session.run("pytest", "-q", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes."""
    install(session, *PLUGINS)
    session.run("pytest", "-q", "-m", "slow", *session.posargs)


@nox.session
def core(session: nox.Session) -> None:
    """Run the core's own tests without any plugin, so without torch."""
    install(session)
    session.run("pytest", "-q", "tests/test_options.py", "tests/test_core_alone.py")


@nox.session
@nox.parametrize("name", sorted(PLUGINS))
def plugin(session: nox.Session, name: str) -> None:
    """Run one plugin's tests with only what it builds on."""
    install(session, *NEEDS.get(name, []), name)
    session.run("pytest", "-q", PLUGINS[name])


@nox.session
def browser(session: nox.Session) -> None:
    """Open reports in the system's Chromium."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        session.skip("no chromium and chromedriver on the path (Debian: chromium, chromium-driver)")
    install(session, *PLUGINS, tools=(*TEST_TOOLS, "selenium"))
    session.run("pytest", "-q", "-m", "browser", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    install(session, *PLUGINS, tools=("ruff", "mypy", "scipy-stubs"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    modules = [str(p.parent) for p in Path("plugins").glob("*/*/*/py.typed")]
    session.run("mypy", "kdst_core", *modules)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link is an error."""
    session.install(*CONSTRAINTS, "mkdocs-material", "mkdocstrings[python]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
