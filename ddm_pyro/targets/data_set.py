"""Targets that are real data: rows to learn from and rows to be judged on, no density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from ddm_pyro import distributions, random
from ddm_pyro.spaces import StateSpace, describe_size
from ddm_pyro.targets.base import Target

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


class DataSet(Target):
    """Rows of tokens whose law is unknown; ``sample`` draws rows of one split with replacement.

    ``entropy`` is None; ``log_prob``, ``posterior``, ``denoiser`` and ``tabular`` say that there is no density.

    Attributes:
        train, test: (n, L) int64.
        split: the one ``sample`` draws from, "train" (default) or "test".

    Raises:
        ValueError: an empty split, tokens outside the space, an unknown split.
        NotImplementedError: when a density is asked for.

    Example:
        >>> data = DataSet(StateSpace(2, 2), train=torch.tensor([[0, 1]]), test=torch.tensor([[1, 1]]))
        >>> data.sample((2,)).tolist(), data.entropy()
        ([[0, 1], [0, 1]], None)
    """

    def __init__(
        self, space: StateSpace, *, train: Tensor, test: Tensor, split: str = "train", validate_args: bool | None = None
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split={split!r} must be 'train' or 'test'.")
        for name, rows in (("train", train), ("test", test)):
            if rows.dim() != 2 or len(rows) == 0:
                raise ValueError(
                    f"{name} has shape {tuple(rows.shape)}; a data set needs (n, length) with n at least 1."
                )
        self.train, self.test, self.split = space.check(train, "train"), space.check(test, "test"), split
        super().__init__(space, validate_args=validate_args)

    @property
    def rows(self) -> Tensor:
        """The rows ``sample`` draws from."""
        return self.train if self.split == "train" else self.test

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Rows drawn with replacement, (*sample_shape, *batch, L)."""
        u = random.uniform((*sample_shape, *self.batch_shape), self.rows.device)
        return self.rows[(u * len(self.rows)).long()]

    def empirical(self) -> distributions.Samples:
        """The rows of the split as ``distributions.Samples``, for metrics."""
        return distributions.Samples(self.rows, self.space)

    def log_prob(self, value: Tensor) -> NoReturn:
        """Raise NotImplementedError: the law of the data is unknown."""
        self._refuse("log_prob")

    def posterior(self, log_evidence: Tensor) -> NoReturn:
        """Raise NotImplementedError: the law of the data is unknown."""
        self._refuse("posterior")

    def denoiser(self, process: Process) -> Parameterization:
        """Raise NotImplementedError: the law of the data is unknown."""
        self._refuse("denoiser")

    def tabular(self) -> distributions.Tabular:
        """Raise NotImplementedError: the law of the data is unknown."""
        self._refuse("tabular")

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(
            f"{self} has no known density, so it has no {what} (its space has {describe_size(self.space)} states); "
            "train a model on .train, or compare with .empirical()."
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.train)} train and {len(self.test)} test rows, {self.space})"
