"""Total variation against steps for every sampler, with the exact score, computed by ``push``: no samples, no noise.

Writes sampler_curves.csv and sampler_curves.svg beside this file. ``python docs/figures/sampler_curves.py``
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

import ddm_pyro as ddm
from ddm_pyro import samplers

HERE = Path(__file__).parent
BUDGETS = (1, 2, 4, 8, 16, 32, 64, 128)
LENGTH = 4
#: TV below this is rounding, and the sampler's law is the data law.
EXACT = 1e-12
COLORS = {"masked": ("#0072B2", "o"), "uniform": ("#D55E00", "s")}


@dataclass(frozen=True)
class Entry:
    """One panel: a name, and the samplers on its curve by number of steps (None: any number)."""

    name: str
    at: dict[int | None, ddm.Sampler | Sequence[ddm.Sampler]]
    processes: tuple[str, ...] = ("masked", "uniform")
    budgets: tuple[int, ...] = field(default=BUDGETS)

    def points(self, most: int) -> Iterator[tuple[int, ddm.Sampler | Sequence[ddm.Sampler]]]:
        for steps, sampler in self.at.items():
            for budget in self.budgets if steps is None else (steps,):
                if budget <= most:
                    yield budget, sampler


ENTRIES = (
    Entry("ancestral", {None: samplers.Ancestral()}),
    Entry("euler", {None: samplers.Euler()}),
    Entry("tau-leaping, first", {None: samplers.TauLeaping("first")}),
    Entry("tau-leaping, reject", {None: samplers.TauLeaping("reject")}),
    Entry("euler + gibbs", {None: [samplers.Euler(), samplers.GibbsCorrector()]}, ("uniform",)),
    Entry("gillespie", {None: samplers.Gillespie()}),
    Entry("uniformization", {None: samplers.Uniformization(early_stopping=0.01)}, budgets=(8, 32, 128)),
    Entry("first-hitting", {-(-LENGTH // b): samplers.FirstHitting(refresh=b) for b in (1, 2, 4)}, ("masked",)),
    Entry(
        "k-unmask",
        {len(sizes): samplers.KUnmask(sizes) for sizes in ((4,), (2, 2), (2, 1, 1), (1, 1, 1, 1))},
        ("masked",),
    ),
)


def models() -> tuple[ddm.Tabular, dict[str, ddm.Parameterization]]:
    """The data law, and its exact reverse processes."""
    target = ddm.targets.PottsChain(num_states=3, length=LENGTH, coupling=1.0)
    masked = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), LENGTH)
    uniform = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Constant(total=6.0), LENGTH)
    return target.tabular(), {"masked": target.denoiser(masked), "uniform": target.denoiser(uniform)}


def curves(most: int = max(BUDGETS)) -> list[tuple[str, str, int, float]]:
    """(process, sampler, steps, TV) for all points of at most ``most`` steps."""
    data, exact = models()
    distance = ddm.metrics.TotalVariation()
    return [
        (process, entry.name, steps, float(distance(ddm.push(sampler, exact[process], steps=steps), data)))
        for entry in ENTRIES
        for process in entry.processes
        for steps, sampler in entry.points(most)
    ]


def draw(rows: list[tuple[str, str, int, float]], path: Path) -> None:
    """A panel a sampler: its own curves in color, everyone else's in grey."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    plt.rcParams.update({"svg.hashsalt": "ddm_pyro", "font.size": 11})
    figure, axes = plt.subplots(3, 3, figsize=(8, 7.5), sharex=True, sharey=True, layout="constrained")
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for process, name, steps, tv in rows:
        lines.setdefault((process, name), []).append((steps, tv))
    floor = 2e-6
    for entry, ax in zip(ENTRIES, axes.flat, strict=True):
        for points in lines.values():
            xs, ys = zip(*sorted(point for point in points if point[1] > EXACT), strict=True)
            ax.plot(xs, ys, color="0.88", linewidth=1, zorder=1)
        for process in entry.processes:
            color, marker = COLORS[process]
            points = sorted(lines[process, entry.name])
            shown = [(x, y) for x, y in points if y > EXACT]
            ax.plot(*zip(*shown, strict=True), color=color, marker=marker, markersize=4.5, linewidth=1.6, label=process)
            for x, y in points:
                if y <= EXACT:
                    ax.plot(x, floor, color=color, marker="v", markersize=8, clip_on=False, zorder=3)
                    ax.annotate("exact", (x, floor), (7, 3), textcoords="offset points", color=color, fontsize=11)
        ax.set_title(entry.name, fontsize=12)
        ax.set(xscale="log", yscale="log", ylim=(floor, 1))
        ax.xaxis.set_major_locator(FixedLocator(BUDGETS))
        ax.xaxis.set_major_formatter(FixedFormatter([str(budget) for budget in BUDGETS]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(color="0.93", linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("steps")
    for ax in axes[:, 0]:
        ax.set_ylabel("TV to the data law")
    axes[0, 0].legend(frameon=False, loc="lower left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)


def write(rows: list[tuple[str, str, int, float]], path: Path) -> None:
    """The numbers of the figure."""
    with path.open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["process", "sampler", "steps", "tv"])
        table.writerows((process, name, steps, f"{tv:.10g}") for process, name, steps, tv in rows)


def read(path: Path) -> list[tuple[str, str, int, float]]:
    """The numbers written by ``write``."""
    with path.open(newline="") as stream:
        return [(row["process"], row["sampler"], int(row["steps"]), float(row["tv"])) for row in csv.DictReader(stream)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = curves()
    write(found, HERE / "sampler_curves.csv")
    draw(found, HERE / "sampler_curves.svg")
