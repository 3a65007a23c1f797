"""A run as a notebook shows it: the main figures and the first pictures, without the page around them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdst_core.plugins import registry
from kdst_core.reports.charts import SERIES
from kdst_core.reports.report import environment

MOST_PICTURES = 3
"""Pictures that are shown; the report has all of them."""


def fragment(result: Mapping[str, Any], directory: Path) -> str:
    """Return a run's headline numbers, warnings and first pictures as HTML; text is escaped.

    Colours are set on the outermost element, so that it needs no style of a page.
    """
    content = registry.load_bench(result["capability"]).report(result, directory)
    pictures = [b for b in content.blocks if hasattr(b, "svg") and (b.svg or b.png)]
    template = environment().get_template("notebook.html")
    return template.render(
        result=result,
        content=content,
        pictures=pictures[:MOST_PICTURES],
        left=max(len(pictures) - MOST_PICTURES, 0),
        colours=list(enumerate(SERIES)),
        directory=directory,
    )
