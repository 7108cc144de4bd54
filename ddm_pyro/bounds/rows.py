"""Certificates from the differences of exact and learned rates, without a loss of the model (theory 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from ddm_pyro.bounds.base import NotApplicable
from ddm_pyro.bounds.certificate import Certificate
from ddm_pyro.bounds.continuous import EXACT, ContinuousBound
from ddm_pyro.bounds.facts import Facts
from ddm_pyro.bounds.integrals import Integrals


@final
@dataclass(frozen=True)
class Row(ContinuousBound):
    """TV <= m + int E rowTV(exact - learned rates at x_t) dt: no Cauchy-Schwarz, no loss (theory 7, ROW).

    rowTV of a row of differences is the larger of its positive and negative sums; m is the prior mismatch, 0 in the
    masked form conditioned on x_1 = all masks; the smaller form is returned. For a masked sampler in steps and a
    time-free model the discretization error is added ("discretization").

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=3)
        >>> Row()(target=target, model=target.denoiser(forward)).value < 1e-12
        True
    """

    name: ClassVar[str] = "core/row"
    splits: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """The smaller form."""
        return self._smaller(facts, lambda i: i.row)


@final
@dataclass(frozen=True)
class GeneralizedPinsker(ContinuousBound):
    """TV <= m + sqrt((2 A + 4 A^) / 3 * L_SE), A and A^ the mean numbers of exact and learned jumps (theory 7, GENP).

    From 3 (a - b)^2 <= (2 a + 4 b) D(a || b): no cubic term, any support, any noise.
    """

    name: ClassVar[str] = "core/generalized-pinsker"
    splits: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """The smaller form."""
        return self._smaller(facts, _pinsker, score_entropy=lambda i: i.entropy, jumps=lambda i: i.jumps)


@final
@dataclass(frozen=True)
class ExitRouting(ContinuousBound):
    """TV <= m + sqrt(A L_route / 2) + sqrt((2 A + 4 A^) / 3 * L_exit): when to jump and where to, apart (theory 7).

    L_SE = L_exit + L_route by position; a normalized masked model has L_exit = 0 and A at most L.
    """

    name: ClassVar[str] = "core/exit-routing"
    splits: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """The smaller form."""
        return self._smaller(facts, _exit_routing, exit=lambda i: i.exit, routing=lambda i: i.entropy - i.exit)


@final
@dataclass(frozen=True)
class Local(ContinuousBound):
    """For masks: a revealed token never changes, so an error at x can move f only by its range over completions of x.

    d_F <= int E rowTV(x_t) osc(F over completions of x_t) dt, conditioned on x_1 = all masks (theory 7, LOCAL). On the
    TV scale it is the conditioned row bound; ``for_metric`` asks the metric for ``local_constant(space, n)``, half the
    diameter when all but n positions agree.
    """

    name: ClassVar[str] = "core/local"

    def certify(self, facts: Facts) -> Certificate:
        """The conditioned row bound, kept apart by the number of masks."""
        if not facts.is_masked:
            raise NotApplicable(
                f"{self.name} rests on tokens that stay once revealed; in {facts.case.process!r} they move."
            )
        stop, rows = facts.conditioned_stopping, facts.conditioned.row_by_masks
        terms = {"initialization": 0.0, "score": sum(rows), "early_stopping": stop}
        if stop > 0.0:
            return Certificate(sum(rows) + stop, terms, EXACT, source=self.name)
        return Certificate(sum(rows), terms, EXACT, by_masks=rows, source=self.name)


def _pinsker(i: Integrals) -> float:
    if i.entropy == 0.0:
        return 0.0
    return math.sqrt((2.0 * i.jumps + 4.0 * i.learned_jumps) / 3.0 * i.entropy)


def _exit_routing(i: Integrals) -> float:
    routing = max(i.entropy - i.exit, 0.0) if math.isfinite(i.entropy) else math.inf
    first = math.sqrt(i.jumps * routing / 2.0) if routing else 0.0
    second = math.sqrt((2.0 * i.jumps + 4.0 * i.learned_jumps) / 3.0 * i.exit) if i.exit else 0.0
    return first + second
