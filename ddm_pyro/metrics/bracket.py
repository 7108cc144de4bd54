"""Values with honest limits for any IPM, from nothing but its constant and its distances or witnesses.

The plug-in distance of two empirical laws is too large in mean (a supremum of means is at least the mean's supremum),
and moves by at most 2C/n when one of n rows does; so plug-in + eps is an upper limit. A witness chosen on one half of
the rows and averaged on the other is too small in mean; so average - eps is a lower limit. Neither assumes anything
about the laws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ddm_pyro import random
from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.metrics.base import Estimate, Witness
from ddm_pyro.metrics.intervals import bernstein, deviation
from ddm_pyro.metrics.laws import Joint, Law, inverse_sizes, size_of, tail_mass, weighted_rows
from ddm_pyro.metrics.rows import Array, group_rows, to_numpy
from ddm_pyro.spaces import StateSpace

#: Entries (relabelings times rows) the null distribution may take; fewer relabelings are made beyond.
NULL_ENTRIES = 2 * 10**7

if TYPE_CHECKING:
    from ddm_pyro.metrics.ipm import IPM


def between_pmfs(metric: IPM, space: StateSpace, a: Tabular, b: Tabular, *, seed: int) -> Estimate:
    """The distance of two known laws; without ``exact`` the value a fitted witness reaches, which is a lower limit.

    Truncated laws (``tail_mass``) keep the value of the truncation and get limits for the laws before it.
    """
    diameter, tail, joint = 2.0 * metric.constant(space), tail_mass(a, b), Joint.of(a, b)
    slack = diameter * tail if tail else 0.0
    extra = {"tail_mass": tail} if tail else {}
    if metric.has_exact:
        value = float(metric.distances(space, joint.atoms, joint.p[None], joint.q[None])[0])
        limits = max(0.0, value - slack), min(diameter, value + slack) if tail else value
        return Estimate(value, "exact", *limits, 0.0, 0.0, method="exact on pmfs", confidence=1.0, extra=extra)
    value = max((abs(mean_difference(f, a, b)) for f in metric.witnesses(space, a, b, seed)), default=0.0)
    variation = 0.5 * float(np.abs(joint.p - joint.q).sum())
    upper = min(diameter, times(diameter, variation) + slack)
    method = "fitted witness on pmfs; upper limit 2 C TV"
    return Estimate(
        value, "lower", max(0.0, value - slack), upper, 0.0, 0.0, method=method, confidence=1.0, extra=extra
    )


def bracket(metric: IPM, space: StateSpace, a: Law, b: Law, *, seed: int, confidence: float) -> Estimate:
    """Plug-in value, upper limit by McDiarmid, lower limit by a split witness; half of 1 - confidence each.

    Without ``exact`` the value is the witness's and the upper limit comes from d_F <= 2 C TV.
    """
    delta, constant = (1.0 - confidence) / 2.0, metric.constant(space)
    held_out, lower = lower_limit(metric, space, a, b, seed, delta)
    n, m = size_of(a), size_of(b)
    if not metric.has_exact:
        variation = 0.5 * float(np.abs(np.subtract(*_densities(a, b))).sum()) + deviation(
            0.5, inverse_sizes(a, b), delta
        )
        upper = max(times(2.0 * constant, min(1.0, variation)), lower)
        method = "held-out witness; lower limit Hoeffding or Bernstein, upper limit 2 C (plug-in TV + McDiarmid)"
        return Estimate(held_out, "lower", lower, upper, null_mean=0.0, method=method, confidence=confidence, n=n, m=m)
    u, v = metric.thin(space, a, b, random.derive_seed(seed, "thin"))
    value, null = plug_in(metric, space, u, v, seed)
    upper = max(min(2.0 * constant, value + deviation(constant, inverse_sizes(u, v), delta)), lower)
    thinned = "" if (u, v) == (a, b) else f" of {size_of(u)} and {size_of(v)} rows"
    return Estimate(
        value,
        "upper_biased",
        lower,
        upper,
        null_mean=float(null.mean()) if len(null) else None,
        method=f"plug-in{thinned}; upper limit McDiarmid, lower limit split witness (Hoeffding or Bernstein)",
        confidence=confidence,
        p_value=p_value(value, null),
        extra={"witness": held_out},
        n=n,
        m=m,
    )


def times(scale: float, value: float) -> float:
    """scale * value with inf * 0 = 0: no distance, however large the diameter.

    Example:
        >>> times(float("inf"), 0.0), times(2.0, 0.25)
        (0.0, 0.5)
    """
    return 0.0 if value == 0.0 else scale * value


def _densities(a: Law, b: Law) -> tuple[Array, Array]:
    joint = Joint.of(a, b)
    return joint.p, joint.q


def mean_difference(witness: Witness, a: Law, b: Law) -> float:
    """E_a f - E_b f: exact for a pmf, the mean over rows for Samples."""
    means = []
    for law in (a, b):
        rows, weights = weighted_rows(law)
        means.append(float(to_numpy(witness.fn(torch.from_numpy(rows)).double()) @ weights))
    return means[0] - means[1]


def halves(law: Law, seed: int) -> tuple[Law, Law] | None:
    """A training and a test half, chosen at random; a known pmf serves as both. None when there are too few rows."""
    if not isinstance(law, Samples):
        return law, law
    if len(law) < 2:
        return None
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(law))).to(law.x.device)
    cut = len(law) // 2
    return Samples(law.x[order[:cut]], law.space), Samples(law.x[order[cut:]], law.space)


def lower_limit(metric: IPM, space: StateSpace, a: Law, b: Law, seed: int, delta: float) -> tuple[float, float]:
    """The best held-out witness value, and a number that exceeds the distance with probability at most delta."""
    of_a, of_b = halves(a, random.derive_seed(seed, "p")), halves(b, random.derive_seed(seed, "q"))
    if of_a is None or of_b is None:
        return 0.0, 0.0
    (train_a, test_a), (train_b, test_b) = of_a, of_b
    witnesses: Sequence[Witness] = metric.witnesses(space, train_a, train_b, random.derive_seed(seed, "witness"))
    best, limit = 0.0, 0.0
    for witness in witnesses:
        value = mean_difference(witness, test_a, test_b)
        margin = _margin(witness, (train_a, train_b), (test_a, test_b), delta / len(witnesses))
        best, limit = max(best, value), max(limit, value - margin)
    return best, limit


def _margin(witness: Witness, train: tuple[Law, Law], test: tuple[Law, Law], delta: float) -> float:
    """Hoeffding's margin, or the empirical Bernstein one where the training rows say that it will be narrower.

    Choosing by the training rows leaves both valid on the test rows.
    """
    hoeffding = deviation(witness.osc / 2.0, inverse_sizes(*test), delta)
    sizes = [len(law) for law in test if isinstance(law, Samples)]
    if bernstein(_variances(witness, train), sizes, witness.osc, delta) >= hoeffding:
        return hoeffding
    return bernstein(_variances(witness, test), sizes, witness.osc, delta)


def _variances(witness: Witness, laws: tuple[Law, Law]) -> list[float]:
    """Sample variance of the witness on each side known by rows (0 for a single row)."""
    values = [to_numpy(witness.fn(law.x.cpu()).double()) for law in laws if isinstance(law, Samples)]
    return [float(found.var(ddof=1)) if len(found) > 1 else 0.0 for found in values]


def plug_in(metric: IPM, space: StateSpace, a: Law, b: Law, seed: int) -> tuple[float, Array]:
    """The distance of the empirical laws, and those of as many relabelings (or redraws) under p = q, (B,)."""
    rng, rows = (
        np.random.default_rng(random.derive_seed(seed, "null")),
        sum(len(weighted_rows(law)[0]) for law in (a, b)),
    )
    count = min(metric.permutations, max(2, NULL_ENTRIES // rows))
    if isinstance(a, Samples) and isinstance(b, Samples):
        atoms, group = group_rows(np.concatenate([to_numpy(a.x), to_numpy(b.x)]))
        n, m = len(a), len(b)
        orders = [group] + [rng.permutation(group) for _ in range(count)]
        p = np.stack([np.bincount(order[:n], minlength=len(atoms)) / n for order in orders])
        q = np.stack([np.bincount(order[n:], minlength=len(atoms)) / m for order in orders])
    else:
        joint = Joint.of(a, b)
        atoms, exact, drawn_law = (joint.atoms, joint.p, b) if isinstance(a, Tabular) else (joint.atoms, joint.q, a)
        size = size_of(drawn_law) or 1
        redraws = rng.multinomial(size, exact / exact.sum(), size=count) / size
        known = np.tile(exact, (count + 1, 1))
        drawn = np.concatenate([(joint.q if isinstance(a, Tabular) else joint.p)[None], redraws])
        p, q = (known, drawn) if isinstance(a, Tabular) else (drawn, known)
    values = metric.distances(space, atoms, p, q)
    return float(values[0]), values[1:]


def p_value(value: float, null: Array) -> float | None:
    """Share of the null values at least as large, the observed one counted; None when too few could ever reach 5%."""
    return None if len(null) < 19 else (1.0 + float((null >= value * (1.0 - 1e-12)).sum())) / (1.0 + len(null))
