"""An experiment that has been run: its rows, what they say, and the files they are kept in."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ddm_pyro.evaluation.artifacts import write_json, write_whole
from ddm_pyro.reproduce.base import Experiment, Row, Work
from ddm_pyro.reproduce.catalog import experiment
from ddm_pyro.reproduce.checks import Check
from ddm_pyro.reproduce.pages import fragment
from ddm_pyro.reproduce.plots import svg

#: Digits of a number in the CSV file; what is judged, drawn and shown is read back from it.
DIGITS = 14


@dataclass(frozen=True)
class Outcome:
    """The rows of an experiment, and what follows from them.

    Attributes:
        experiment: what was run.
        rows: as the CSV file keeps them.
        quick: whether only a part was run.
        seed: the seed.
    """

    experiment: Experiment
    rows: tuple[Row, ...]
    quick: bool = False
    seed: int = 0

    @property
    def checks(self) -> list[Check]:
        """What the rows say about the claim."""
        return self.experiment.judge(self.rows)

    @property
    def passed(self) -> bool:
        """Whether every check holds, and there is one."""
        checks = self.checks
        return bool(checks) and all(check.passed for check in checks)

    def values(self) -> dict[str, Any]:
        """All of it but the rows, for JSON."""
        one = self.experiment
        checks = [
            {
                "statement": c.statement,
                "value": c.value,
                "low": c.low,
                "high": c.high,
                "passed": c.passed,
                "of": c.source,
            }
            for c in self.checks
        ]
        facts = {"name": one.name, "title": one.title, "claim": one.claim, "source": one.source, "setup": one.setup}
        return {**facts, "quick": self.quick, "seed": self.seed, "passed": self.passed, "checks": checks}

    def write(self, directory: Path) -> list[Path]:
        """NAME.csv, NAME.json, NAME.svg and NAME.md in the directory, each whole or not at all; returns them."""
        at = {kind: directory / f"{self.experiment.name}.{kind}" for kind in ("csv", "json", "svg", "md")}
        write_whole(at["csv"], to_csv(self.rows).encode())
        write_json(at["json"], self.values())
        write_whole(at["svg"], svg(self.experiment.draw(self.rows)))
        write_whole(at["md"], fragment(self.experiment, self.rows, self.checks).encode())
        return list(at.values())

    @classmethod
    def read(cls, directory: Path, name: str) -> Outcome:
        """What ``write`` wrote. Raises OSError where it is not there."""
        facts = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        rows = from_csv((directory / f"{name}.csv").read_text(encoding="utf-8"))
        return cls(experiment(name), tuple(rows), facts["quick"], facts["seed"])


def reproduce(name: str, *, out: str | Path | None = None, work: Work | None = None) -> Outcome:
    """Run an experiment.

    Args:
        name: one of ``names()``.
        out: a directory for its files; none are written without.
        work: seed, extent and whom to tell.

    Raises:
        ValueError: an unknown name, with the closest known one.

    Example:
        >>> reproduce("potts-kl", work=Work(quick=True)).passed
        True
    """
    one, work = experiment(name), work or Work()
    with torch.no_grad():
        measured = one.measure(work)
    # Through the file's own form, so that what is judged now is what can be read later.
    outcome = Outcome(one, tuple(from_csv(to_csv(measured))), work.quick, work.seed)
    if out is not None:
        outcome.write(Path(out))
    return outcome


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, the union of their columns in order of appearance; None as nothing.

    Example:
        >>> to_csv([{"L": 8, "kl": 0.1 + 0.2}, {"L": 16, "kl": None, "why": "too long"}])
        'L,kl,why\\n8,0.3,\\n16,,too long\\n'
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(names)
    table.writerows([_word(row.get(name)) for name in names] for row in rows)
    return stream.getvalue()


def from_csv(text: str) -> list[Row]:
    """What ``to_csv`` wrote: numbers where a number can be read, None where there is nothing.

    Example:
        >>> from_csv("L,kl,reference\\n8,0.3,'0.300\\n")
        [{'L': 8, 'kl': 0.3, 'reference': '0.300'}]
    """
    return [{name: _value(word) for name, word in row.items()} for row in csv.DictReader(io.StringIO(text))]


def _word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, str) and _is_number(value):
        return f"'{value}"  # printed digits stay as printed
    return str(value)


def _value(word: str) -> Any:
    if not word:
        return None
    if word.startswith("'"):
        return word[1:]
    try:
        return int(word)
    except ValueError:
        return float(word) if _is_number(word) else word


def _is_number(word: str) -> bool:
    try:
        return not math.isnan(float(word)) or word == "nan"
    except ValueError:
        return False
