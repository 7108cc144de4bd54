"""What an evaluation hands back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddm_pyro.evaluation.artifacts import read_json
from ddm_pyro.evaluation.errors import RowsError
from ddm_pyro.evaluation.rows import read_rows

META = "meta.json"


@dataclass(frozen=True)
class Results:
    """Rows in the order of the plan, and where they lie.

    Attributes:
        rows: one a cell and metric; keys in ``ddm_pyro.evaluation.ROW_FIELDS``.
        path: directory of the run, or None when nothing was kept.
        meta: plan, environment, plugins.

    Example:
        >>> Results([{"status": "ok", "metric": "core/tv", "value": 0.5}]).counts
        {'ok': 1}
    """

    rows: list[dict[str, Any]]
    path: Path | None = None
    meta: dict[str, Any] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status."""
        return dict(Counter(str(row["status"]) for row in self.rows))

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Rows with status error or timeout."""
        return [row for row in self.rows if row["status"] in ("error", "timeout")]

    def where(self, **conditions: Any) -> list[dict[str, Any]]:
        """Rows whose keys have these values.

        Example:
            >>> Results([{"metric": "core/tv", "value": 0.5}]).where(metric="core/tv")[0]["value"]
            0.5
        """
        return [row for row in self.rows if all(row.get(key) == value for key, value in conditions.items())]

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """The rows of the last plan that was run in a directory, finished or not.

        Raises:
            RowsError: no run there, or a corrupt file of rows.
        """
        path = Path(path)
        found = {row["row_key"]: row for row in read_rows(path)}
        meta = read_json(path / META)
        if not isinstance(meta, dict) or "row_keys" not in meta:
            raise RowsError(f"{str(path / META)!r} is missing or damaged; run the plan again in {str(path)!r}.")
        return cls([found[key] for key in meta["row_keys"] if key in found], path, meta)
