"""Discrete latents of other kinds, small enough to be listed: a discrete diffusion and Gibbs chains, judged exactly.

``python docs/figures/other_latents.py`` writes other_latents.csv beside this file, in two minutes of CPU.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import ddm_pyro as ddm

HERE = Path(__file__).parent
STEPS, PARTICLES, DRAWS = 1000, 256, 4000
CHAINS, SWEEPS = 200, 1000


def grid(beta: float, field: Tensor) -> Callable[[], None]:
    """Spins on 4 x 4 sites."""

    def model() -> None:
        with pyro.plate("sites", 16, dim=-1):
            x = pyro.sample("x", dist.Bernoulli(0.5))
        spins = 2 * x - 1
        square = spins.unflatten(-1, (4, 4))
        bonds = (square[..., 1:] * square[..., :-1]).sum((-2, -1)) + (square[..., 1:, :] * square[..., :-1, :]).sum(
            (-2, -1)
        )
        pyro.factor("energy", (beta * bonds + (field * spins).sum(-1)).unsqueeze(-1))

    return model


def potts() -> None:
    """Ten variables of three values, fields and couplings of all pairs at random."""
    field = 0.7 * torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    coupling = 0.5 * torch.randn(10, 10, 3, 3, generator=torch.Generator().manual_seed(2))
    x = pyro.sample("x", dist.Categorical(logits=field).to_event(1))
    a, b = torch.triu_indices(10, 10, offset=1)
    pyro.factor("pairs", coupling[a, b, x[..., a], x[..., b]].sum(-1))


def mixed() -> None:
    """Spins in a plate, categories, a one-hot and a count, in a factor that ties all of them."""
    with pyro.plate("spins", 6, dim=-1):
        spin = pyro.sample("spin", dist.Bernoulli(0.4))
    color = pyro.sample("color", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
    kind = pyro.sample("kind", dist.OneHotCategorical(torch.tensor([0.1, 0.2, 0.3, 0.4])))
    count = pyro.sample("count", dist.Binomial(5, torch.tensor(0.3)))
    total = spin.sum(-1, keepdim=True) + count
    wanted = torch.tensor([2.0, 4.0, 7.0])[color] + kind[..., 1] - kind[..., 3]
    pyro.factor("meet", -0.8 * (total - wanted) ** 2)


generator = torch.Generator().manual_seed(0)
MODELS = {
    "4 x 4, beta = 0.44, field 0.2": grid(0.44, torch.tensor(0.2)),
    "4 x 4, beta = -0.6, random fields": grid(-0.6, 0.5 * torch.randn(16, generator=generator)),
    "4 x 4, beta = 0.8": grid(0.8, torch.tensor(0.0)),
    "random Potts, 10 of 3 values": potts,
    "spins, category, one-hot, count": mixed,
}


def marginals(x: Tensor, weights: Tensor, vocab: int) -> Tensor:
    """Law of each token, (L, V)."""
    return torch.einsum("n,nlv->lv", weights, torch.nn.functional.one_hot(x, vocab).double())


def gibbs(target: ddm.targets.PyroTarget) -> Tensor:
    """States of chains from random starts, one site after the other, every tenth sweep of the second half."""
    space, log_p, kept = target.space, target.pmf.log(), []
    x = (torch.rand(CHAINS, space.length) * torch.tensor(space.position_sizes)).long()
    for sweep in range(SWEEPS):
        for position, size in enumerate(space.position_sizes):
            tried = x.unsqueeze(1).repeat(1, size, 1)
            tried[..., position] = torch.arange(size)
            x[:, position] = torch.distributions.Categorical(logits=log_p[space.index(tried)]).sample()
        if sweep >= SWEEPS // 2 and sweep % 10 == 0:
            kept.append(x.clone())
    return torch.cat(kept)


def judge(name: str, model: Callable[[], None]) -> tuple[str, float, float, float, float, float]:
    """KL(guide || posterior) over paths, ESS, largest error of a marginal (weighted guide, Gibbs), CPU seconds."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    target = ddm.targets.from_pyro(model)
    exact = marginals(target.space.enumerate(), target.pmf, target.space.vocab_size)
    start = time.process_time()
    guide = ddm.infer.AutoDiscreteDiffusion(model)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 3e-3}), guide.elbo(PARTICLES, anneal=STEPS // 4))
    for _ in range(STEPS):
        svi.step()
    seconds = time.process_time() - start
    draws = guide.sample_posterior(DRAWS)
    found = marginals(target.encode(draws.samples), draws.weights, target.space.vocab_size)
    x = gibbs(target)
    chains = marginals(x, torch.full((len(x),), 1.0 / len(x), dtype=torch.float64), target.space.vocab_size)
    errors = (float((law - exact).abs().max()) for law in (found, chains))
    return name, float(target.log_evidence - draws.elbo), float(draws.ess_fraction), *errors, seconds


if __name__ == "__main__":
    with (HERE / "other_latents.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["model", "kl", "ess", "guide_error", "gibbs_error", "seconds"])
        for name, model in MODELS.items():
            row = judge(name, model)
            writer.writerow([name, *(f"{value:.3g}" for value in row[1:])])
            print(*row, flush=True)
