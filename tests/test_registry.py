"""Discovery: what is listed, what is refused, and with which words."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdst_core.cli.plugins import command
from kdst_core.plugins import registry
from kdst_core.plugins.capabilities import OWN
from kdst_core.plugins.catalogue import published
from tests import warm
from tests.fakes import GOOD, hide_others, install, kdst

FAULTY = ("kdst-broken", "kdst-misspelt")


@pytest.mark.plugins
def test_plugins_lists_faulty_plugins_with_the_reasons_metadata_shows(faulty_plugins: Path) -> None:
    done = kdst("plugins", path=faulty_plugins)
    assert done.returncode == 0
    for name in ("broken", "new", "misspelt", "nothing", "source", "norm", "tea"):
        assert name in done.stdout
    assert "needs kdst-core <100,>=99, this is 0.1.0" in done.stdout
    assert "'tea' is also registered by kdst-other-tea" in done.stdout
    assert "'tea' is also registered by kdst-tea" in done.stdout


def test_plugins_json_is_machine_readable(faulty_plugins: Path) -> None:
    rows = json.loads(kdst("plugins", "--json", path=faulty_plugins).stdout)
    new = next(r for r in rows if r["name"] == "new")
    assert new["capability"] == "adapt"
    assert new["problems"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", ["kdst-broken is broken", "ModuleNotFoundError", "no_such_module"]),
        ("new", ["kdst-new/new cannot run", "needs kdst-core", "this is 0.1.0"]),
        ("misspelt", ["unknown hook 'adpat'", "Did you mean 'adapt'"]),
        ("nothing", ["hook `adapt` returned None"]),
        ("tea", ["kdst-tea", "kdst-other-tea", "kdst run kdst-tea/tea"]),
        ("taa", ["no method 'taa'", "Did you mean 'tea'"]),
    ],
)
@pytest.mark.plugins
def test_run_says_in_two_lines_what_is_wrong(
    faulty_plugins: Path, tmp_path: Path, name: str, words: list[str]
) -> None:
    done = warm.kdst("run", name, "--images", "50", path=faulty_plugins, cwd=tmp_path)
    assert done.returncode == 2
    message = "\n".join(
        line for line in done.stderr.splitlines() if not line.startswith(f"{name}: ")
    )
    assert len(message.splitlines()) <= 2, message
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@pytest.mark.plugins
def test_a_qualified_name_chooses_between_packages(faulty_plugins: Path, tmp_path: Path) -> None:
    options = ["--images", "20", "--types", "contrast", "--sgld-steps", "1", "--buffer-size", "20"]
    words = ["run", "kdst-tea/tea", *options, "--out", "r"]
    done = warm.kdst(*words, path=faulty_plugins, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r/result.json").read_text())["plugin"] == "kdst-tea"


def test_a_module_that_does_not_exist_is_listed_as_such(tmp_path: Path) -> None:
    install(tmp_path, "kdst-gone", name="gone", module="no_such_module_at_all", code=None)
    assert "module no_such_module_at_all was not found" in kdst("plugins", path=tmp_path).stdout


@pytest.mark.plugins
def test_doctor_finds_what_metadata_cannot_show(faulty_plugins: Path) -> None:
    hide_others(faulty_plugins, "kdst-core", "kdst-environments", "kdst-adapt", *FAULTY)
    done = warm.kdst("doctor", path=faulty_plugins)
    assert done.returncode == 1
    assert "BROKEN  kdst-broken/broken" in done.stdout
    assert "BROKEN  kdst-misspelt/misspelt" in done.stdout
    assert "ok      kdst-adapt/norm" in done.stdout


@pytest.mark.plugins
def test_available_lists_what_is_not_installed_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = [p for p in registry.discover() if p.name in ("norm", "source", "tea")]
    monkeypatch.setattr(registry, "discover", lambda **_: installed)
    shown = CliRunner().invoke(command, ["--available"]).stdout.splitlines()
    assert "3dgs               pip install kdst-3dgs" in shown
    assert not [line for line in shown if line.split()[0] in ("norm", "source", "tea")]
    rows = json.loads(CliRunner().invoke(command, ["--available", "--json"]).stdout)
    assert len(rows) == len(shown)
    assert {"name": "pl", "package": "kdst-pl", "install": "pip install kdst-pl"} in rows


def test_every_method_of_the_repository_is_in_the_catalogue() -> None:
    projects = Path(__file__).parent.parent.glob("plugins/*/*/pyproject.toml")
    for project in (tomllib.loads(p.read_text())["project"] for p in projects):
        groups = project.get("entry-points", {})
        for group in (f"kdst.{c}" for c in OWN):
            for name in groups.get(group, {}):
                assert published("methods").get(name) == project["name"]


@pytest.mark.plugins
def test_disable_and_only_hide_methods(tmp_path: Path) -> None:
    assert "norm" not in kdst("plugins", KDST_DISABLE="norm").stdout.split()
    assert kdst("plugins", KDST_ONLY="norm").stdout.split()[0] == "norm"
    assert "switched off" in kdst("run", "norm", KDST_DISABLE="norm").stderr


@pytest.mark.plugins
def test_doctor_finds_a_package_that_is_installed_twice(tmp_path: Path) -> None:
    install(tmp_path, "kdst-tea", name="tea", module="kdst_tea", code=None)
    hide_others(tmp_path, "kdst-core", "kdst-environments", "kdst-adapt", "kdst-tea")
    done = warm.kdst("doctor", path=tmp_path)
    assert done.returncode == 1
    assert "STALE   kdst-tea is installed 2 times: 0.1.0 in" in done.stdout


@pytest.mark.plugins
def test_baselines_run_even_where_they_are_switched_off(tmp_path: Path) -> None:
    options = ["--images", "20", "--types", "contrast,contrast", "--out", "r"]
    done = warm.kdst("run", "norm", *options, cwd=tmp_path, KDST_ONLY="norm")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r/result.json").read_text())
    assert "baseline.source.accuracy.mean" in result["metrics"]
    assert result["input"]["shifts"] == ["contrast.5"]


@pytest.mark.parametrize("words", ["kdst run ", "kdst info ", "kdst check "])
@pytest.mark.plugins
def test_completion_names_methods_though_one_is_broken(faulty_plugins: Path, words: str) -> None:
    env = {"COMP_WORDS": words, "COMP_CWORD": "2", "_KDST_COMPLETE": "bash_complete"}
    code = "import sys; sys.argv[0] = 'kdst'; from kdst_core.cli import cli; cli(prog_name='kdst')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env, "PYTHONPATH": str(faulty_plugins)},
        check=False,
    )
    assert {"plain,norm", "plain,broken"} <= set(done.stdout.split()), done.stderr


@pytest.mark.plugins
def test_trace_prints_every_hook_call(tmp_path: Path) -> None:
    options = ["--images", "20", "--types", "contrast", "--out", "r"]
    done = warm.kdst("run", "norm", *options, cwd=tmp_path, KDST_TRACE="1")
    assert "kdst: adapt -> kdst-adapt/norm" in done.stderr
    assert "kdst:   request: AdaptRequest(model=Normalized, num_classes=10" in done.stderr
    assert "kdst:   returned Fixed" in done.stderr


@pytest.mark.plugins
def test_an_observer_that_is_asked_for_wraps_the_calls_of_methods(tmp_path: Path) -> None:
    code = (
        "import pluggy, sys\n"
        "@pluggy.HookimplMarker('kdst')(wrapper=True)\n"
        "def adapt(request):\n"
        "    print('observed', request.num_classes, file=sys.stderr)\n"
        "    return (yield)\n"
    )
    install(tmp_path, "kdst-observer", name="watch", module="fake_watch", code=code)
    entry = tmp_path / "kdst_observer-1.0.dist-info/entry_points.txt"
    entry.write_text("[kdst.observers]\nwatch = fake_watch\n")
    options = ["--images", "20", "--types", "contrast", "--out", "r"]
    words = ["run", "norm", *options, "--observe", "watch"]
    done = warm.kdst(*words, path=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "observed 10" in done.stderr


def test_a_hook_argument_that_the_contract_lacks_is_refused(tmp_path: Path) -> None:
    code = GOOD.format(hook="adapt", body="return object()").replace("request, ", "images, ")
    install(tmp_path, "kdst-args", name="args", module="fake_args", code=code)
    done = kdst("run", "args", path=tmp_path)
    assert done.returncode == 2
    assert "does not fit the hook specification" in done.stderr
    assert "images" in done.stderr
