"""What every bound is: a question about a target, a model and a sampler, answered by a certificate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from ddm_pyro.bounds.certificate import Certificate
from ddm_pyro.plugins.errors import NotApplicable as NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.samplers import Sampler

#: Rows of a network batch, the unit of ``budget``.
BATCH_ROWS = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """What a bound is asked.

    Attributes:
        target: the data law, with ``space`` and ``denoiser(process)``.
        model: the Parameterization the sampler runs on.
        sampler, steps, times: as in ``sample``; None for continuous time.
        confidence: level of the limit where something is estimated.
        budget: network batches of 64 rows an estimate may cost.
        seed: fixes the draws of an estimate.
    """

    target: Any
    model: Parameterization
    sampler: Sampler | Sequence[Sampler] | None = None
    steps: int | None = None
    times: Sequence[float] | Tensor | None = None
    confidence: float = 0.95
    budget: int = 64
    seed: int | None = None


class Bound(ABC):
    """An upper bound on the total variation between the data law and what a sampler draws, as a theorem gives it.

    ``sampler=None`` asks about the approximate reverse process in continuous time, started from the prior at t = 1 and
    run to t = 0 (or to the last of ``times``); otherwise about the law of ``sample(sampler, model, steps=, times=)``,
    the final denoising included.

    Attributes:
        name: the id it is registered under.
    """

    name: ClassVar[str] = "local/bound"

    @final
    def __call__(
        self,
        *,
        target: Any,
        model: Parameterization,
        sampler: Sampler | Sequence[Sampler] | None = None,
        steps: int | None = None,
        times: Sequence[float] | Tensor | None = None,
        confidence: float = 0.95,
        budget: int = 64,
        seed: int | None = None,
    ) -> Certificate:
        """The certificate; the arguments are those of ``Question``.

        Raises:
            NotApplicable: a combination the theorem does not speak of, in one sentence with what does.
            ValueError: arguments that do not fit together.
        """
        return self.answer(
            Question(
                target=target,
                model=model,
                sampler=sampler,
                steps=steps,
                times=times,
                confidence=confidence,
                budget=budget,
                seed=seed,
            )
        )

    @abstractmethod
    def answer(self, question: Question) -> Certificate:
        """The certificate. Raises as ``__call__`` says."""
