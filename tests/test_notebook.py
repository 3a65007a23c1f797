"""The notebook of the documentation, carried out, and what a result shows in one."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "kdst.ipynb"
pytestmark = pytest.mark.plugins
if not all(map(find_spec, ("nbclient", "ipykernel"))):
    pytest.skip("needs nbclient and ipykernel", allow_module_level=True)


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the notebook with the outputs of its cells."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = tmp_path_factory.mktemp("notebook")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    return notebook


def outputs(notebook: Any, number: int) -> list[Any]:
    """Return the outputs of the code cell of a number."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return list(code[number].outputs)


def shown(notebook: Any, number: int) -> str:
    """Return the HTML of the value of a code cell."""
    (value,) = (o for o in outputs(notebook, number) if o.output_type == "execute_result")
    return str(value.data["text/html"])


def test_a_result_shows_its_figures_and_pictures(carried_out: Any) -> None:
    run = shown(carried_out, 0)
    assert "norm" in run
    assert "report.html" in run
    assert run.count("<svg") == 3
    assert "--series-0" in run
    edited = shown(carried_out, 3)
    assert edited.count("data:image/png;base64,") == 3


def test_it_needs_nothing_from_the_network(carried_out: Any) -> None:
    for number in (0, 3):
        assert not re.search(r"(src|href)=\"(?!data:|#)", shown(carried_out, number))
        assert "<script" not in shown(carried_out, number)


def test_progress_is_shown_and_the_cells_have_values(carried_out: Any) -> None:
    assert [o for o in outputs(carried_out, 0) if o.output_type != "execute_result"]
    accuracy = float(outputs(carried_out, 1)[0].data["text/plain"])
    assert 0.2 < accuracy <= 1
    assert outputs(carried_out, 2)[0].data["text/plain"] == "torch.Size([16, 5])"


def test_the_notebook_is_kept_without_outputs() -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
