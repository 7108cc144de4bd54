"""What every exact target must satisfy, checked against a pmf listed by an oracle."""

from __future__ import annotations

import numpy as np
import oracles
import torch
from scipy.stats import chi2

#: False-alarm budget of a statistical test.
FALSE_ALARM = 2e-5


def random_evidence(rng, batch, length, vocab, holes=0.25):
    evidence = rng.normal(scale=2.0, size=(batch, length, vocab))
    evidence[rng.random(evidence.shape) < holes] = -np.inf
    return evidence


def assert_evidence_is_the_sum(target):
    """log_evidence against the sum over all sequences, far from zero and with an impossible token."""
    length, vocab = target.space.length, target.space.vocab_size
    torch.manual_seed(4)
    scores = torch.randn(2, 3, length, vocab, dtype=torch.float64) - 400.0
    scores[0, 0, 0, 1:] = -torch.inf
    atoms = target.space.enumerate()
    weights = target.log_prob(atoms) + scores[..., torch.arange(length), atoms].sum(-1)
    torch.testing.assert_close(target.log_evidence(scores), weights.logsumexp(-1))
    assert target.log_evidence(scores[0, 0]).shape == ()


def assert_is_the_law(target, pmf, seed=0, atol=1e-12):
    """log_prob, pmf, entropy, posterior (with holes and impossible rows) against the listed pmf."""
    pmf = np.asarray(pmf, dtype=float).ravel()
    sizes = target.space.position_sizes
    x = torch.from_numpy(oracles.sequences(sizes))
    log_probs = target.log_prob(x)
    assert log_probs.dtype == torch.float64
    np.testing.assert_allclose(log_probs.exp().numpy(), pmf, atol=atol)
    np.testing.assert_allclose(target.tabular().pmf.numpy(), pmf, atol=atol)
    np.testing.assert_allclose(float(target.entropy()), oracles.entropy(pmf), atol=1e-10)
    rng = np.random.default_rng(seed)
    evidence = random_evidence(rng, 12, len(sizes), max(sizes))
    evidence[0] = 0.0
    evidence[1, 0] = -np.inf
    found = target.posterior(torch.from_numpy(evidence))
    assert found.dtype == torch.float64
    expected = np.stack([oracles.posterior(pmf, row, sizes) for row in evidence])
    np.testing.assert_allclose(found.exp().numpy(), expected, atol=1e-10)
    padding = np.arange(max(sizes)) >= np.array(sizes)[:, None]
    assert np.isneginf(found.numpy()[:, padding]).all()


def assert_draws_follow(x, pmf, sizes):
    """Chi-square of draws (n, L) against a flat pmf; cells with fewer than five expected are pooled."""
    pmf = np.asarray(pmf, dtype=float).ravel()
    index = np.ravel_multi_index(tuple(x.numpy().T), sizes)
    counts = np.bincount(index, minlength=len(pmf))
    assert counts[pmf == 0].sum() == 0
    expected = len(x) * pmf
    small = expected < 5
    observed = np.append(counts[~small], counts[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert statistic <= chi2.isf(FALSE_ALARM, max(len(observed) - 1, 1)) or len(observed) == 1
