"""A real survey: eight ordinal answers of 6366 people, from a package that carries it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from ddm_pyro.targets.data_set import DataSet
from ddm_pyro.targets.file import File

#: The columns used, in order; the ninth of the file measures time and is no category.
QUESTIONS = (
    *("rate_marriage", "age", "yrs_married", "children"),
    *("religious", "educ", "occupation", "occupation_husb"),
)


class Survey(DataSet):
    """Answers of 6366 married women to eight questions, each with four to seven ordered levels.

    Data: R. C. Fair (1978), *A Theory of Extramarital Affairs*, Journal of Political Economy 86, as statsmodels ships
    it (``statsmodels.datasets.fair``, included there with permission of the author). It is read from the installed
    statsmodels, which is not imported, and never downloaded: ``pip install ddm-pyro[survey]``. The split is that of
    ``File``.

    Attributes:
        columns: one ``Column`` a question.

    Raises:
        ImportError: statsmodels is not installed, or comes without the data.
    """

    def __init__(self, *, test_fraction: float = 0.2, split: str = "train", validate_args: bool | None = None) -> None:
        answers = File(_source(), header=True, columns=QUESTIONS, test_fraction=test_fraction)
        self.columns, self._answers = answers.columns, answers
        super().__init__(
            answers.space, train=answers.train, test=answers.test, split=split, validate_args=validate_args
        )

    def encode(self, rows: Any) -> Tensor:
        """Tokens of answers in the order of ``columns``, (n, 8); ValueError quotes an answer nobody gave."""
        return self._answers.encode(rows)

    def decode(self, x: Tensor) -> list[list[str]]:
        """The answers that sequences stand for."""
        return self._answers.decode(x)


def _source() -> Path:
    found = find_spec("statsmodels")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder, "datasets", "fair", "fair.csv")
        if path.is_file():
            return path
    raise ImportError("core/survey reads the data that statsmodels carries; run: pip install 'ddm-pyro[survey]'.")
