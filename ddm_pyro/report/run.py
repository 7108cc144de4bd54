"""A finished or interrupted evaluation as it lies on disk: rows, what is known about the run, drawn samples."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddm_pyro.report.series import Row

if TYPE_CHECKING:
    from torch import Tensor

META, SAMPLES, MODELS = "meta.json", "samples", "models"
POSITIONS, CALIBRATION = "positions", "calibration"


@dataclass(frozen=True)
class Run:
    """Rows with their surroundings.

    Attributes:
        rows: the rows that count, one a cell and metric.
        meta: plan, versions, seed and whatever else the evaluation wrote down; may be empty.
        directory: where samples lie and where the report goes; None for rows made elsewhere.

    Example:
        >>> Run([{"target": "core/digits"}]).name
        'evaluation'
    """

    rows: tuple[Row, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    directory: Path | None = None

    def __init__(
        self, rows: Iterable[Row], meta: Mapping[str, Any] | None = None, directory: Path | str | None = None
    ) -> None:
        object.__setattr__(self, "rows", latest(rows))
        object.__setattr__(self, "meta", dict(meta or {}))
        object.__setattr__(self, "directory", None if directory is None else Path(directory))

    @property
    def name(self) -> str:
        """Name of the plan, or of the directory."""
        plan = self.meta.get("plan")
        named = self.meta.get("name") or (plan.get("name") if isinstance(plan, Mapping) else plan)
        if isinstance(named, str) and named:
            return named
        return self.directory.resolve().name if self.directory is not None else "evaluation"

    def tensors(self, row: Row) -> dict[str, Tensor]:
        """What the row's cell ended in: ``samples`` (n, L), and ``pmf`` when the law is exact; empty when not kept."""
        from ddm_pyro.evaluation.artifacts import read_tensors

        path = self._file(SAMPLES, row.get("sample_key"))
        found = None if path is None else read_tensors(path)
        return {} if found is None else found[0]

    def losses(self, row: Row) -> list[float]:
        """Losses of the training of the row's model, one a step; empty when there was none or it was not kept."""
        path = self._file(MODELS, row.get("train_key"))
        if path is None:
            return []
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                record = json.loads((file.metadata() or {}).get("ddm_pyro", "{}"))
            return [float(one) for one in record["meta"]["losses"]]
        except (OSError, SafetensorError, ValueError, TypeError, KeyError):
            return []

    def positions(self, row: Row) -> dict[str, Any]:
        """Errors by position of the row's cell: ``tv`` and ``floor``, one number a position; empty when not kept."""
        kept = self._json(POSITIONS, row.get("sample_key"))
        found = {key: _finite_numbers(kept.get(key)) for key in ("tv", "floor")}
        if len(found["floor"]) != len(found["tv"]):
            found["floor"] = []
        return found if found["tv"] else {}

    def calibration(self, row: Row) -> list[dict[str, Any]]:
        """Reliability of the row's model, one table a noise level; empty when it was not kept."""
        levels = self._json(CALIBRATION, row.get("train_key")).get("levels")
        try:
            return [
                {
                    **{key: float(one[key]) for key in ("t", "error", "floor", "n")},
                    "bins": [
                        {key: float(bin[key]) for key in ("confidence", "share", "stderr")} for bin in one["bins"]
                    ],
                }
                for one in levels or ()
                if one["bins"]
            ]
        except (KeyError, TypeError, ValueError):
            return []

    def _json(self, folder: str, key: object) -> dict[str, Any]:
        path = self._file(folder, key, ".json")
        return {} if path is None else _meta(path)

    def _file(self, folder: str, key: object, suffix: str = ".safetensors") -> Path | None:
        # Keys are hashes; anything else could lead out of the folder.
        if self.directory is None or not isinstance(key, str) or not key.isalnum():
            return None
        path = self.directory / folder / f"{key}{suffix}"
        return path if path.is_file() else None


def load_run(path: Path | str) -> Run:
    """Read a run's directory (rows of the plan last run there), or all rows of a file.

    A last line cut off by an interruption is left out.

    Raises:
        ValueError: nothing there, no file of rows, or a line that is no row (``evaluation.errors.RowsError``).
    """
    from ddm_pyro.evaluation import Results, read_rows

    path = Path(path)
    meta = _meta((path if path.is_dir() else path.parent) / META)
    if path.is_dir() and "row_keys" in meta:
        return Run(Results.load(path).rows, meta, path)
    return Run(read_rows(path), meta, path if path.is_dir() else path.parent)


def latest(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The last row of each key, in the order of first mention: a cell that was run again counts once.

    Example:
        >>> latest([{"row_key": "a", "value": 1}, {"row_key": "b"}, {"row_key": "a", "value": 2}])
        ({'row_key': 'a', 'value': 2}, {'row_key': 'b'})
    """
    found: dict[object, Row] = {}
    for k, row in enumerate(rows):
        key = row.get("row_key")
        found[k if key is None else str(key)] = row
    return tuple(found.values())


def _finite_numbers(values: object) -> list[float]:
    """The list, or an empty one when it holds anything but finite numbers."""
    if not isinstance(values, list) or not all(isinstance(one, int | float) and math.isfinite(one) for one in values):
        return []
    return [float(one) for one in values]


def _meta(file: Path) -> dict[str, Any]:
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}
