"""The Ising model at its critical point: mean field, a discrete diffusion, Gibbs sampling and the exact law.

``python docs/figures/discrete_latents.py`` writes discrete_latents.csv, of a 6 x 6 and a 10 x 10 grid, and
discrete_latents.svg, of the larger one, beside this file, in five minutes of CPU. An argument is the size of one grid;
its numbers are printed, not written.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import ddm_pyro as ddm

HERE = Path(__file__).parent
BETA = 0.5 * math.log(1.0 + math.sqrt(2.0))
#: Optimiser steps by size of the grid.
STEPS = {6: 1000, 10: 4000}
DRAWS = 4000


@dataclass(frozen=True)
class Row:
    """What one method says: log Z (or its bound), E|m|, the share of its draws that count, and the CPU time it took."""

    size: int
    method: str
    log_z: float
    log_z_error: float
    magnetization: float
    ess: float
    seconds: float


def absolute_magnetization(x: torch.Tensor) -> torch.Tensor:
    """|mean spin| of each sequence, (n,)."""
    return (2.0 * x.double() - 1.0).mean(-1).abs()


def neighbors(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ends of every bond."""
    site = torch.arange(size * size).reshape(size, size)
    return torch.cat([site[:, :-1].flatten(), site[:-1].flatten()]), torch.cat(
        [site[:, 1:].flatten(), site[1:].flatten()]
    )


def mean_field(size: int) -> tuple[float, torch.Tensor]:
    """The best product law's ELBO, and draws from it."""
    a, b = neighbors(size)
    logits = torch.full((size * size,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(400):
        p, m = logits.sigmoid(), (logits / 2).tanh()
        entropy = torch.nn.functional.softplus(logits) - p * logits
        elbo = BETA * (m[a] * m[b]).sum() + entropy.sum()
        optimizer.zero_grad()
        (-elbo).backward()
        optimizer.step()
    return elbo.item(), torch.bernoulli(logits.detach().sigmoid().expand(DRAWS, -1)).long()


def gibbs(size: int, sweeps: int, chains: int = 200) -> torch.Tensor:
    """Last states of heat-bath chains from random starts: black squares, then white ones, every sweep."""
    s = torch.randint(2, (chains, size, size)).double() * 2 - 1
    black = (torch.arange(size).unsqueeze(-1) + torch.arange(size)) % 2 == 0
    kept = []
    for sweep in range(sweeps):
        for color in (black, ~black):
            padded = torch.nn.functional.pad(s, (1, 1, 1, 1))
            field = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
            drawn = (torch.rand_like(s) < torch.sigmoid(2 * BETA * field)).double() * 2 - 1
            s = torch.where(color, drawn, s)
        if sweep >= sweeps // 2 and sweep % 50 == 0:
            kept.append(s.clone())
    return (torch.cat(kept).flatten(1) > 0).long()


def compare(size: int) -> tuple[list[Row], dict[str, tuple[torch.Tensor, torch.Tensor | None]]]:
    """All methods on a size x size grid: the table, and spins with weights for the figure."""
    torch.manual_seed(0)
    grid = ddm.targets.IsingGrid(size, size, BETA)
    rows, draws = [], {}

    def add(method: str, log_z: float, error: float, m: torch.Tensor, ess: float, start: float) -> None:
        rows.append(Row(size, method, float(log_z), float(error), float(m), float(ess), time.process_time() - start))

    exact = grid.sample((DRAWS,))
    draws["exact"] = exact, None
    log_z = float(grid.log_partition)
    add("exact", log_z, 0.0, absolute_magnetization(exact).mean(), math.nan, time.process_time())

    start = time.process_time()
    elbo, x = mean_field(size)
    draws["mean field"] = x, None
    add("mean field", elbo, 0.0, absolute_magnetization(x).mean(), math.nan, start)

    start = time.process_time()
    sampler = ddm.infer.fit_density(
        lambda x: grid.log_prob(x) + log_z,  # as if log Z were not known
        grid.space,
        steps=STEPS.get(size, 1000),
        num_particles=64,
        anneal=0.5,
        seed=0,
    )
    weighted = sampler.weigh(DRAWS, seed=1)
    m = absolute_magnetization(weighted.samples["x"])
    draws["diffusion"] = weighted.samples["x"], None
    draws["diffusion, weighted"] = weighted.samples["x"], weighted.weights
    add("diffusion", weighted.elbo, 0.0, m.mean(), math.nan, start)
    mean = (weighted.weights * m).sum()
    add("diffusion, weighted", weighted.log_evidence, weighted.stderr, mean, weighted.ess_fraction, start)

    start = time.process_time()
    x = gibbs(size, 2000)
    draws["Gibbs"] = x, None
    add("Gibbs", math.nan, math.nan, absolute_magnetization(x).mean(), math.nan, start)
    return rows, draws


def draw(size: int, draws: dict[str, tuple[torch.Tensor, torch.Tensor | None]], path: Path) -> None:
    """The law of the magnetization by each method, the exact one behind."""
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "ddm_pyro", "font.size": 11})
    shown = [name for name in draws if name != "exact"]
    figure, axes = plt.subplots(1, len(shown), figsize=(11, 2.8), sharex=True, sharey=True, layout="constrained")
    # One bin a value, so that none holds more values than another.
    half = 1.0 / size**2
    bins = torch.linspace(-1.0 - half, 1.0 + half, size**2 + 2).tolist()
    for name, ax in zip(shown, axes, strict=True):
        for each, color, fill in (("exact", "0.8", True), (name, "#0072B2", False)):
            x, weights = draws[each]
            m = (2.0 * x.double() - 1.0).mean(-1)
            ax.hist(
                m.tolist(),
                bins=bins,
                weights=None if weights is None else weights.tolist(),
                density=True,
                color=color,
                histtype="stepfilled" if fill else "step",
                linewidth=1.8,
            )
        ax.set_title(name, fontsize=12)
        ax.set(ylim=(0, 1.5), xlabel="mean spin")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"density, {size} x {size}")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sizes = [int(size) for size in sys.argv[1:]] or [6, 10]
    table = []
    for size in sizes:
        rows, pictures = compare(size)
        table += rows
        print(*rows, sep="\n", flush=True)
    if sys.argv[1:]:
        sys.exit()
    with (HERE / "discrete_latents.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["size", "method", "log_z", "log_z_error", "magnetization", "ess", "seconds"])
        for row in table:
            numbers = (row.log_z, row.log_z_error, row.magnetization, row.ess, row.seconds)
            writer.writerow([row.size, row.method, *(f"{value:.4g}" for value in numbers)])
    draw(sizes[-1], pictures, HERE / "discrete_latents.svg")
