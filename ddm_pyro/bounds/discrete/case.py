"""What a certificate of a sampler's steps is asked about, checked once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddm_pyro.bounds.base import NotApplicable, Question
from ddm_pyro.parameterizations import Exact, Parameterization
from ddm_pyro.processes import Process
from ddm_pyro.samplers import Sampler
from ddm_pyro.sampling.arguments import as_samplers, leaves_noise, resolve_times
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets import Tabular

#: States, masks included, up to which expectations are summed rather than estimated.
EXACT_STATES = 2**18
#: Model rows up to which that is done for a model that depends on time, which is asked anew at every step.
EXACT_ROWS = 2**19


@dataclass(frozen=True)
class Run:
    """A sampler's run on a model, and the law it is judged by.

    Attributes:
        target: the data law.
        model: what the samplers run on.
        samplers: one, or a predictor and correctors.
        grid: (N + 1,) decreasing times.
        denoises: whether a final denoising follows the last step.
    """

    target: Any
    model: Parameterization
    samplers: tuple[Sampler, ...]
    grid: Tensor
    denoises: bool

    @classmethod
    def of(cls, question: Question, name: str) -> Run:
        """The run that ``sample(sampler, model, steps=, times=)`` makes. Raises as ``Bound.__call__`` says."""
        target, model, sampler = question.target, question.model, question.sampler
        if sampler is None:
            raise NotApplicable(
                f"{name} speaks of a sampler's steps; in continuous time ask core/path-kl or core/conditioned-path-kl."
            )
        process = model.process
        if process.space.is_countable:
            raise NotApplicable(f"{name} needs finite alphabets; truncate the natural numbers with space.box(max).")
        if target.space != process.space.data:
            raise ValueError(f"The target lives on {target.space} but the model on {process.space.data}.")
        samplers = as_samplers(sampler)
        grid, last = resolve_times(samplers, model, question.steps, question.times)
        return cls(target, model, tuple(samplers), grid, leaves_noise(samplers, process, last))

    @property
    def process(self) -> Process:
        """The forward process."""
        return self.model.process

    @property
    def space(self) -> StateSpace:
        """The space of the process, masks included."""
        return self.process.space

    @property
    def length(self) -> int:
        """L."""
        return self.space.length

    @property
    def sampler(self) -> Sampler | None:
        """The only sampler, or None when there are several."""
        return self.samplers[0] if len(self.samplers) == 1 else None

    @property
    def is_enumerable(self) -> bool:
        """Whether expectations over all states are summed."""
        rows = self.space.num_states * (1 if self.model.time_free else len(self.grid))
        return self.space.num_states <= EXACT_STATES and rows <= EXACT_ROWS

    @property
    def has_exact_model(self) -> bool:
        """Whether the model is the target's own posterior."""
        return is_exact(self.model, self.target)

    def denoiser(self) -> Parameterization:
        """The exact model of the target, by its pmf when it offers no other."""
        return exact_model(self.target, self.process)


def is_exact(model: Parameterization, target: Any) -> bool:
    """Whether ``model`` (a counter around it set aside) is the exact denoiser of ``target``."""
    while hasattr(model, "inner") and isinstance(model.inner, Parameterization):
        if type(model).__name__ != "Counted":
            return False
        model = model.inner
    return isinstance(model, Exact) and model.target is target


def exact_model(target: Any, process: Process) -> Parameterization:
    """The exact model of ``target`` under ``process``. Raises NotApplicable where the law has no density."""
    for law in (lambda: target, lambda: Tabular(target.tabular())):
        with suppress(NotImplementedError, AttributeError):  # what a law without a density says, or lacks
            exact: Parameterization = law().denoiser(process)
            return exact
    raise NotApplicable(f"{target!r} has no density, so nothing says what the exact posterior is.")


def data_entropy(target: Any, name: str) -> float:
    """H(p_0) in nats. Raises NotApplicable where it is not known."""
    entropy = target.entropy()
    if entropy is None:
        raise NotApplicable(
            f"{name} needs the entropy of the data, which {target!r} does not know: there is no certificate, only the "
            "discretisation term of core/discretization."
        )
    return float(entropy)
