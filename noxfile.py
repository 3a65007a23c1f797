"""Sessions of the project: `nox -s tests`, `nox -s demo`, `nox -l` for the list.

`demo`, `tests`, `slow`, `lint` and the like install through constraints.txt into an environment of their
own. `plugin`, `together` and `outsider` lay theirs over one environment that holds everything from
outside the project, so that all plugins take minutes and gigabytes, not hours.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
PLUGINS = {p.parent.name: str(p.parent) for p in sorted(Path("plugins").glob("*/*/pyproject.toml"))}
"""Distribution to folder, every plugin of the repository."""
TEST_TOOLS = ("pytest", "pytest-xdist", "hypothesis", "hatchling", "nbclient", "ipykernel")
BUILD_TOOLS = ("hatchling", "editables")
"""What builds the packages of the repository, editable ones too."""
SIDE_BY_SIDE = ("-n", "auto", "--dist", "loadfile")
"""As many processes as cores; the tests of a file share one."""
AS_IMPORTED = "--no-compile"
"""Nothing is compiled that is not imported, where a session imports few of the modules it installs."""
SELDOM_IMPORTED = (
    r"site-packages/((setuptools|virtualenv)/|.+/(tests?|benchmarks)/"
    r"|torch/(_inductor/(codegen|fx_passes|kernel)|_vendor/quack|testing/_internal)/"
    r"|transformers/(exporters|pipelines)/"
    r"|transformers/models/(?!\w+\.py|(auto|bert|clip|gpt2|gptj|llama|qwen2_vl|siglip|t5|vit)/)"
    r"|diffusers/modular_pipelines/"
    r"|diffusers/pipelines/(?!\w+\.py|(flux|stable_diffusion(_3|_xl)?)/)"
    r"|ray/(data|llm|rllib|serve|train|tune)/|debugpy/_vendored/|fontTools/(?!misc/|\w+\.py)"
    r"|huggingface_hub/(cli|inference)/|numba/cuda/|numpy/distutils/|pydantic/v1/"
    r"|pygments/lexers/(?!_|diff|python|special)|sympy/(physics|stats)/)"
)
"""What no test imports, or a few: it is not compiled ahead, which saves half a minute of a processor."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""A thread each, so that processes side by side do not fight for cores."""


def runs(python: str) -> bool:
    """Return whether a Python is on the path and is one; pyenv puts there what it has not chosen."""
    found = shutil.which(python)
    return bool(found) and not subprocess.run([found, "-c", ""], capture_output=True).returncode


PYTHONS = [f"3.{minor}" for minor in range(11, 20) if runs(f"python3.{minor}")]
"""Every Python on the path that the project supports (pyenv: PYENV_VERSION=3.11.9:3.12.1 nox …)."""


def kept_by_pyenv(python: str) -> str:
    """Return the newest 3.N that pyenv has installed, chosen or not; '' where it has none or is not there."""
    if not shutil.which("pyenv"):
        return ""
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
    fitting = [v for v in listed.stdout.split() if re.fullmatch(rf"{re.escape(python)}\.\d+", v)]
    if not fitting:
        return ""
    newest = max(fitting, key=lambda v: int(v.rpartition(".")[2]))
    prefix = subprocess.run(["pyenv", "prefix", newest], capture_output=True, text=True)
    found = Path(prefix.stdout.strip(), "bin", f"python{python}")
    return str(found) if found.is_file() else ""


def newest() -> str | None:
    """Return the newest Python of this machine, on the path or in pyenv; None where it is this one."""
    for minor in range(19, sys.version_info.minor, -1):
        python = f"3.{minor}"
        found = python if runs(f"python{python}") else kept_by_pyenv(python)
        if found:
            return found
    return None


NEWEST = newest()
"""The newest Python beside the one that nox runs on, as nox takes it."""
RELEASES = subprocess.run(
    ["git", "tag", "--list", "core-v*"], capture_output=True, text=True, check=False
).stdout.split()
"""Tags of the core's releases."""
AGAINST = ["source", "oldest"] if RELEASES else ["source"]
"""Which core plugins are tested with: this one and, once there is a release, the oldest they claim."""
FIRST = "plugins/adapt/requirements.txt"
"""What the README's first command installs."""
MANY, AUTHORS, SHOW = "kdst-batch", "kdst-authors", "kdst-show"
"""Packages of commands: comparing and sweeping; beginning and checking a method; what there is."""
CORE_SMOKE = "core_alone faults habits installed metadata options received registry"
MANY_SMOKE = "executors sweep"
SMOKE = (
    *(f"tests/test_{name}.py" for name in CORE_SMOKE.split()),
    *(f"{PLUGINS[MANY]}/tests/test_{name}.py" for name in MANY_SMOKE.split()),
    *(f"plugins/adapt/kdst-adapt/tests/test_{name}.py" for name in ("data", "measures")),
    "plugins/adapt/kdst-tea/tests/test_tea.py",
)
"""Tests that tell soon whether another Python is a different one: the core's machinery, and a method."""
VERDICTS = "docs/figures/claims.json"
"""Where the verdicts on all claims are recorded."""
QUICK = {
    "adapt": (["--images", "50", "--types", "contrast,fog"], "norm"),
    "reconstruct": (["--iterations", "40", "--flight-frames", "0"], "outsider:rate=.3"),
    "edit": (["--steps", "4"], "outsider:start=.7"),
    "augment_with_tools": (
        ["--documents", "200", "--problem-count", "60", "--held-out-count", "40"],
        "outsider:threshold=.1",
    ),
    "invert": (["--count", "60"], "outsider:steps=1"),
}
"""Capability to the options of a run of seconds, and what to compare the new method with."""
DEFAULTS = {
    "adapt": "tea",
    "reconstruct": "3dgs",
    "edit": "p2p",
    "augment_with_tools": "toolformer",
    "invert": "vec2text",
}
"""Capability to the method that a release is tried with."""


def project(folder: str) -> dict[str, Any]:
    """Return the project table of a package."""
    return tomllib.loads(Path(folder, "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    """Return the distribution that a requirement asks for."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


def needs(name: str) -> list[str]:
    """Return the plugins of the repository that a plugin builds on, those of their own included."""
    direct = [d for d in map(name_of, project(PLUGINS[name])["dependencies"]) if d in PLUGINS]
    return list(dict.fromkeys(n for d in direct for n in (*needs(d), d)))


def tested_with(name: str) -> list[str]:
    """Return the plugins of the repository that a plugin's tests use: what it needs, and its extra `test`."""
    extra = project(PLUGINS[name]).get("optional-dependencies", {}).get("test", [])
    named = [d for d in map(name_of, extra) if d in PLUGINS]
    found = [*needs(name), *(m for n in named for m in (*needs(n), n))]
    return [n for n in dict.fromkeys(found) if n != name]


def capability(name: str) -> str:
    """Return the folder of a plugin, which is its tag."""
    return Path(PLUGINS[name]).parent.name


def install(session: nox.Session, *plugins: str, tools: tuple[str, ...] = TEST_TOOLS) -> None:
    """Install the core and plugins, editable, with tools.

    What is not of the repository comes first, with what builds the rest: an environment for each build
    would take longer than the build. It is compiled before the rest is built, each package by processes
    of its own.
    """
    folders = [".", *(PLUGINS[p] for p in plugins)]
    session.install(AS_IMPORTED, *CONSTRAINTS, *outside(folders), *tools, *BUILD_TOOLS)
    compile_libraries(session)
    editable = [word for folder in folders for word in ("-e", folder)]
    session.install(*CONSTRAINTS, "--no-build-isolation", *editable)
    compile_packages(session)


def compile_libraries(session: nox.Session) -> None:
    """Compile what is installed and not of the repository, without what is seldom imported.

    pip is compiled too, which nox leaves to each process: tests start it dozens of times. Some packages
    hold files of another Python or templates, which do not compile.
    """
    site = site_packages(Path(session.virtualenv.location))
    words = ("-q", "-q", "-x", SELDOM_IMPORTED, str(site))
    session.run("python", "-m", "compileall", *words, success_codes=[0, 1])


def compile_packages(session: nox.Session) -> None:
    """Compile the packages of the repository, which an editable installation leaves to each process.

    Where PYTHONDONTWRITEBYTECODE is set, none of the commands that tests carry out would keep it.
    """
    session.run("python", "-m", "compileall", "-q", "kdst_core", *package_folders())


def package_folders() -> list[str]:
    """Return the folder of every plugin's modules."""
    return [str(p.parent) for p in sorted(Path("plugins").glob("*/*/*/py.typed"))]


def site_packages(environment: Path) -> Path:
    """Return the folder of installed packages of an environment."""
    (found,) = environment.glob("lib/python*/site-packages")
    return found


def outside(folders: Iterable[str], *extras: str) -> list[str]:
    """Return what packages and some of their extras require that the repository does not hold."""
    asked: list[str] = []
    for described in map(project, folders):
        optional = described.get("optional-dependencies", {})
        asked += [
            *described["dependencies"],
            *(line for e in extras for line in optional.get(e, [])),
        ]
    ours = {"kdst-core", *PLUGINS}
    return sorted({line for line in asked if name_of(line) not in ours})


def shared_layer(session: nox.Session) -> Path:
    """Return the site-packages of the environment under the layered ones, brought up to date."""
    python = str(session.python or PYTHONS[0])
    words = [*CONSTRAINTS, *outside((".", *PLUGINS.values()), "test"), *TEST_TOOLS, *BUILD_TOOLS]
    text = "\n".join(words) + Path("constraints.txt").read_text()
    layer = Path(".nox", f"shared-{python}").resolve()
    stamp = layer / "requirements.sha256"
    digest = hashlib.sha256(text.encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != digest:
        started = time.monotonic()
        if not (layer / "bin/pip").exists():
            session.run(f"python{python}", "-m", "venv", str(layer), external=True)
        session.run(str(layer / "bin/pip"), "install", "-q", *words, external=True)
        stamp.write_text(digest)
        session.log(f"the shared layer took {time.monotonic() - started:.0f} s")
    return site_packages(layer)


def lay(session: nox.Session) -> None:
    """Put the shared layer under the session's environment."""
    lay_over(session, shared_layer(session))


def lay_over(session: nox.Session, below: Path) -> None:
    """Let the session's environment find what other site-packages hold, after its own."""
    site = site_packages(Path(session.virtualenv.location))
    (site / "zz_below.pth").write_text(f"import site; site.addsitedir({str(below)!r})\n")


def install_over(session: nox.Session, *plugins: str, core: str = ".") -> None:
    """Install the core and plugins over the shared layer, editable, without anything else."""
    folders = [PLUGINS[p] for p in plugins]
    words = ["-e", core] if core == "." else [core]
    editable = [word for folder in folders for word in ("-e", folder)]
    session.install("-q", "--no-deps", "--no-build-isolation", *words, *editable)


def digest_of_packages() -> str:
    """Return a digest of what decides an installation of core and all plugins."""
    files = [
        "constraints.txt",
        "pyproject.toml",
        *(f"{p}/pyproject.toml" for p in PLUGINS.values()),
    ]
    text = b"".join(Path(file).read_bytes() for file in files)
    return hashlib.sha256(text + repr(TEST_TOOLS).encode()).hexdigest()


def stamp_of_tests(session: nox.Session) -> Path:
    """Return the file in the environment of `tests` that says what is installed there."""
    return Path(session.virtualenv.location).parent / "tests" / "packages.sha256"


def install_beside_tests(session: nox.Session, *tools: str) -> None:
    """Lay the environment over that of `tests` where it is up to date, else install everything anew."""
    stamp = stamp_of_tests(session)
    if not stamp.is_file() or stamp.read_text() != digest_of_packages():
        install(session, *PLUGINS, tools=(*TEST_TOOLS, *tools))
        return
    lay_over(session, site_packages(stamp.parent).resolve())
    session.install(*CONSTRAINTS, *tools)


def oldest_core(name: str) -> str:
    """Return the oldest released core that a plugin claims to work with, as pip takes it."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    lines = project(PLUGINS[name])["dependencies"]
    claimed = next(Requirement(line) for line in lines if name_of(line) == "kdst-core")
    versions = sorted(Version(tag.removeprefix("core-v")) for tag in RELEASES)
    oldest = next(v for v in versions if v in claimed.specifier)
    return f"kdst-core @ git+file://{Path.cwd()}@core-v{oldest}"


@nox.session
def demo(session: nox.Session) -> None:
    """Run TEA on the embedded digits."""
    install(session, *PLUGINS, tools=())
    session.run("kdst", "run", "tea", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all fast tests with every plugin installed."""
    install(session, *PLUGINS)
    stamp_of_tests(session).write_text(digest_of_packages())
    session.run("pytest", "-q", *SIDE_BY_SIDE, *session.posargs, env=ONE_THREAD)


@nox.session(python=NEWEST)
def future(session: nox.Session) -> None:
    """On the newest Python of the machine: the README's first command, and a choice of tests.

    The core is built in an environment of its own, as pip does it for a user. All packages are built
    alike, so the others are built here: two dozen such environments take two minutes of a processor.
    The run keeps the compiled modules of what it imports, which the tests then find.
    """
    if NEWEST is None:
        session.skip("no Python newer than this one on the path or in pyenv")
    session.install(AS_IMPORTED, *CONSTRAINTS, *BUILD_TOOLS, "-e", ".")
    compile_libraries(session)
    session.install(AS_IMPORTED, "--no-build-isolation", "-r", FIRST)
    compile_packages(session)
    session.run("python", "--version")
    out = Path(session.create_tmp(), "run")
    shutil.rmtree(out, ignore_errors=True)
    session.run("kdst", "run", "tea", "--out", str(out), env={"PYTHONDONTWRITEBYTECODE": ""})
    session.install(AS_IMPORTED, *CONSTRAINTS, *TEST_TOOLS)
    chosen = ("-m", "not plugins and not slow and not browser")
    session.run("pytest", "-q", *chosen, *SIDE_BY_SIDE, *SMOKE, *session.posargs, env=ONE_THREAD)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes."""
    install(session, *PLUGINS)
    session.run("pytest", "-q", "-m", "slow", *session.posargs)


@nox.session
def core(session: nox.Session) -> None:
    """Run the tests of the core and its commands without any method, so without torch."""
    install(session, *(name for name in PLUGINS if capability(name) == "commands"))
    session.run("pytest", "-q", *SIDE_BY_SIDE, "tests", "plugins/commands", *session.posargs)


@nox.session(python=PYTHONS)
@nox.parametrize("against", AGAINST)
@nox.parametrize("name", [nox.param(n, id=n, tags=[capability(n)]) for n in sorted(PLUGINS)])
def plugin(session: nox.Session, name: str, against: str) -> None:
    """Run one plugin's tests with what they need; -t adapt for those of a capability."""
    lay(session)
    install_over(
        session, *tested_with(name), name, core="." if against == "source" else oldest_core(name)
    )
    session.run("python", "-m", "pytest", "-q", PLUGINS[name], *session.posargs)


@nox.session(python=PYTHONS)
def together(session: nox.Session) -> None:
    """Run all fast tests with all plugins in one environment whose requirements all hold."""
    lay(session)
    install_over(session, *PLUGINS)
    session.run("python", "-m", "pip", "check")
    session.run("python", "-m", "pytest", "-q", *SIDE_BY_SIDE, *session.posargs, env=ONE_THREAD)


@nox.session(python=PYTHONS, reuse_venv=False)
@nox.parametrize("name", [nox.param(n, id=n, tags=[capability(n)]) for n in sorted(PLUGINS)])
def isolated(session: nox.Session, name: str) -> None:
    """Run one plugin's tests with nothing but what it declares; its environment is removed after."""
    install(session, *tested_with(name), name)
    session.run("pytest", "-q", PLUGINS[name], *session.posargs)
    shutil.rmtree(session.virtualenv.location)


@nox.session(python=PYTHONS, reuse_venv=False)
@nox.parametrize(
    "capability", [nox.param(c, id=c, tags=[c.removeprefix("augment_with_")]) for c in QUICK]
)
def outsider(session: nox.Session, capability: str) -> None:
    """Begin a method with `kdst new`, install it from wheels alone, and run, check and compare it."""
    bench = f"kdst-{capability.removeprefix('augment_with_')}"
    if bench not in PLUGINS:
        session.skip(f"{bench} is not in the repository")
    lay(session)
    place = Path(session.create_tmp()).resolve()
    wheels = place / "wheels"
    for folder in (place / "kdst-outsider", wheels, place / "runs"):
        shutil.rmtree(folder, ignore_errors=True)
    build(session, wheels, ".", *(PLUGINS[p] for p in (MANY, AUTHORS, SHOW, bench)))
    from_wheels(session, wheels, "kdst-core", MANY, AUTHORS, bench)
    session.chdir(place)
    started = time.monotonic()
    session.run("kdst", "new", capability, "outsider")
    build(session, wheels, "kdst-outsider")
    from_wheels(session, wheels, "kdst-outsider")
    session.run("kdst", "check", "outsider")
    session.log(f"from kdst new to a passing kdst check: {time.monotonic() - started:.1f} s")
    options, other = QUICK[capability]
    session.run("kdst", "run", "outsider", *options)
    session.run("kdst", "compare", "outsider", other, *options)
    session.run("python", "-m", "pytest", "-q", "kdst-outsider")


@nox.session(python=False)
def bump(session: nox.Session) -> None:
    """Give every distribution a version: nox -s bump -- 0.2.0."""
    session.run("python3", ".ci/release.py", "bump", *session.posargs, external=True)


@nox.session
def distributions(session: nox.Session) -> None:
    """Build every distribution into dist/, look at what each holds, and write the checksums."""
    session.install(*CONSTRAINTS, "build", "hatchling", "twine", "check-wheel-contents")
    dist = Path("dist").resolve()
    shutil.rmtree(dist, ignore_errors=True)
    for folder in (".", *PLUGINS.values()):
        words = ("--no-isolation", "-o", str(dist), folder)
        session.run("python", "-m", "build", *words, silent=True)
    session.run("twine", "check", "--strict", *map(str, sorted(dist.glob("kdst*"))))
    session.run(
        "check-wheel-contents", "--ignore", "W002", *map(str, sorted(dist.glob("kdst_*.whl")))
    )
    session.run("python", ".ci/release.py", "sums", str(dist))
    for wheel in sorted(dist.glob("*.whl")):
        session.log(f"{wheel.stat().st_size / 1e6:6.2f} MB  {wheel.name}")


@nox.session(python=PYTHONS, reuse_venv=False)
def release(session: nox.Session) -> None:
    """Install what `distributions` built, from these files alone, and run a method of each capability."""
    wheels = Path("dist").resolve()
    if not (wheels / "SHA256SUMS").is_file():
        session.error("nothing is built; first: nox -s distributions")
    lay(session)
    from_wheels(session, wheels, "kdst[all]")
    place = Path(session.create_tmp()).resolve()
    shutil.rmtree(place / "runs", ignore_errors=True)
    session.chdir(place)
    session.run("python", "-m", "pip", "check")
    for capability, (options, _) in QUICK.items():
        session.run("kdst", "run", DEFAULTS[capability], *options, "--out", f"runs/{capability}")


def build(session: nox.Session, wheels: Path, *folders: str) -> None:
    """Build wheels of packages by the build tools of the shared layer."""
    words = ("--no-deps", "--no-build-isolation", "-q", "-w", str(wheels))
    session.run("pip", "wheel", *words, *(str(Path(f).resolve()) for f in folders))


def from_wheels(session: nox.Session, wheels: Path, *names: str) -> None:
    """Install packages from wheels of a folder, asking no index."""
    session.run("pip", "install", "-q", "--no-index", "--find-links", str(wheels), *names)


@nox.session
def mutants(session: nox.Session) -> None:
    """Hold all wrong methods to all checks, and print which check caught which."""
    install(session, *PLUGINS)
    session.run("pytest", "-q", "-m", "slow", "tests/test_mutants.py", *session.posargs)


@nox.session
def cuda(session: nox.Session) -> None:
    """Run the smallest real case of each capability on a CUDA device and on the CPU."""
    install(session, *PLUGINS)
    session.run("python", "benchmarks/devices.py", *session.posargs)


@nox.session
def claims(session: nox.Session) -> None:
    """Try every claim of every method; a verdict that is not the recorded one is an error."""
    install(session, *PLUGINS, tools=())
    words = ("--quick", "--jobs", "2", "--recorded", VERDICTS, *session.posargs)
    session.run("kdst", "claims", *words, "--runs", str(Path(session.create_tmp(), "runs")))


@nox.session
def figures(session: nox.Session) -> None:
    """Try every claim; write the verdicts, their page, and every table of measured figures into docs/."""
    install(session, *PLUGINS, tools=())
    place = Path(session.create_tmp())
    shutil.rmtree(place / "claims", ignore_errors=True)
    where = ("--runs", str(place / "runs"), "--out", str(place / "claims"))
    words = ("--quick", "--jobs", "2", *where, *session.posargs)
    session.run("kdst", "claims", *words, success_codes=[0, 1])
    shutil.copy(place / "claims/claims.json", VERDICTS)
    page = session.run("python", "-m", "kdst_claims.markdown", VERDICTS, silent=True)
    Path("docs/claims.md").write_text(str(page))
    session.run("python", ".ci/figures", "write")


@nox.session
def browser(session: nox.Session) -> None:
    """Open reports in the system's Chromium."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        session.skip("no chromium and chromedriver on the path (Debian: chromium, chromium-driver)")
    install_beside_tests(session, "selenium")
    session.run("python", "-m", "pytest", "-q", "-m", "browser", *browsed(), *session.posargs)


def browsed() -> list[str]:
    """Return the files with tests of the browser; collecting all others would take longer than these."""
    files = sorted((*Path("tests").glob("test_*.py"), *Path("plugins").glob("*/*/tests/test_*.py")))
    return [str(f) for f in files if "pytest.mark.browser" in f.read_text(encoding="utf-8")]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    install_beside_tests(session, "ruff", "mypy", "scipy-stubs")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "kdst_core", "recipes", *package_folders())


@nox.session(name="docs-commands")
def docs_commands(session: nox.Session) -> None:
    """Run every command of the documentation that needs no GPU, network or data."""
    install(session, *PLUGINS)
    session.run("pytest", "-q", "-m", "slow", "tests/test_docs.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link is an error."""
    session.install(AS_IMPORTED, *CONSTRAINTS, "mkdocs-material", "mkdocstrings[python]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
