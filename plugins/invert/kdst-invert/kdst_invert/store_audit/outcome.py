"""The figures of an audit, flat."""

from collections.abc import Mapping
from typing import Any


def metrics(table: Mapping[str, Any]) -> dict[str, float | None]:
    """Return flat metrics of an audit's table."""
    found: dict[str, float | None] = {"rows": table["rows"], "attacked": table["attacked"]}
    for row in table["leaks"]:
        for kind, leak in row["leaks"].items():
            name = f"k{row['known']}.{row['attacker']}.{kind.replace(' ', '_')}"
            found[name], found[f"{name}.chance"] = leak["value"], leak["chance"]
            found[f"{name}.low"], found[f"{name}.high"] = leak["low"], leak["high"]
    if table["membership"] is not None:
        found["membership.auc"] = table["membership"]["auc"]
        found["membership.recognised"] = table["membership"]["recognised"][0]
    for row in table["attributes"]:
        found[f"attribute.{row['column']}"] = row["right"]
        found[f"attribute.{row['column']}.usual"] = row["usual"]
    for row in table["protection"]:
        name = f"{row['defence']}.{row['strength']}".replace(" ", "")
        found[f"{name}.{row['measure']}"] = row["leak"]["value"]
        found[f"{name}.overlap"] = row["overlap"]
    return found
