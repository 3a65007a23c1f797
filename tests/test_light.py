"""The command starts without the heavy libraries."""

import subprocess
import sys

import click
import pytest

from kdst_core import cli

HEAVY = ["torch", "numpy", "transformers", "diffusers", "gsplat", "matplotlib", "scipy", "sklearn"]
HEAVY += ["numba", "pycolmap", "PIL", "viser", "loky", "ray", "pyarrow", "tensorboard"]
ADDED = ["export", "render", "view"]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plugins"], ["run", "--help"], ["compare", "--help"], ["sweep", "--help"]],
)
def test_help_and_plugins_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom kdst_core import cli\n"
        f"sys.argv = ['kdst', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [h for h in {HEAVY!r} if h in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.plugins
def test_the_help_of_a_command_that_a_package_adds_imports_nothing_heavy(name: str) -> None:
    test_help_and_plugins_import_nothing_heavy([name, "--help"])


@pytest.mark.plugins
def test_help_imports_no_package_that_adds_a_command() -> None:
    code = (
        "import sys\nfrom kdst_core import cli\nsys.argv = ['kdst', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print('IMPORTED', [m for m in sys.modules if m.startswith('kdst_reconstruct')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in ADDED)
    assert done.stdout.splitlines()[-1] == "IMPORTED []"


@pytest.mark.plugins
def test_the_help_of_a_method_imports_no_torch() -> None:
    code = (
        "import sys\nfrom kdst_core import cli\nsys.argv = ['kdst', 'run', 'tea', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--sgld-steps" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY False False"


def test_importing_the_core_imports_almost_nothing() -> None:
    code = "import sys, kdst_core; print([m for m in ('attrs', 'click', 'pluggy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("columns", ["", "0", "-3", "20", "60", "200", "wide"])
def test_the_help_is_as_wide_as_click_makes_it(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert cli._width() == click.HelpFormatter().width


def test_the_help_imports_no_library_of_archives() -> None:
    code = (
        "import sys\nfrom kdst_core import cli\nsys.argv = ['kdst', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('shutil', 'pathlib', 'attrs', 'pluggy') if m in sys.modules])"
    )
    words = [sys.executable, "-S", "-c", f"import sys\nsys.path[:] = {sys.path!r}\n{code}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
