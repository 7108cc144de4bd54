"""Networks that are really trained: their error adds to that of the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ddm_pyro.bounds import Floored, PlanKL
from ddm_pyro.losses import NELBO
from ddm_pyro.metrics import TotalVariation
from ddm_pyro.networks import MLP
from ddm_pyro.parameterizations import MaskPredictor, Parameterization
from ddm_pyro.planning import balanced_sizes
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_least, at_most
from ddm_pyro.reproduce.masked import by_draws, forward, plan_kl, training_error
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.samplers import KUnmask
from ddm_pyro.sampling import push
from ddm_pyro.targets import Digits, PottsChain, Tabular
from ddm_pyro.training import fit

PAPER = "Li and Cai, arXiv 2505.21400"
#: data -> (network width, depth, training steps, batch size, rows a block of an estimate).
SETTINGS = {
    "Potts K=3 L=6": (64, 1, 500, 128, 0),
    "Potts K=4 L=16": (128, 1, 1000, 128, 2000),
    "digits": (128, 2, 1000, 64, 300),
}
QUICK = {"Potts K=3 L=6": (16, 1, 60, 64, 0), "Potts K=4 L=16": (16, 1, 60, 64, 200)}
#: delta -> eps_train of the predictor (1 - delta) p + delta / K, K = 4, L = 32, J = 1, T = 8.
MIXTURES = {0.05: 0.00847655, 0.1: 0.0334238, 0.2: 0.130611, 0.5: 0.788556}
MIXED = "Potts K=4 L=32, mixtures"
#: Updates from which a network must have learned something.
ENOUGH = 300
#: T, by length.
STEPS = {6: (1, 2, 3, 6), 16: (1, 2, 4, 8, 16), 64: (4, 8, 16, 32)}


class TrainedNetworks(Experiment):
    """total = discretization + eps_train, with networks trained in the run."""

    name = "trained-networks"
    title = "Trained networks: the error is a sum"
    claim = "The KL of a trained predictor is the KL of the steps with a perfect one plus its training error ε_train."
    source = "Li and Cai, arXiv 2505.21400, Theorem 1, + ε_train"
    setup = (
        "Perceptrons trained by `ddm.fit` with `NELBO` in the run itself, on Potts chains and on the empirical law of "
        "the 1438 digits of the training part, whose exact predictor and entropy are known. The total (cross-entropy "
        "less entropy), the discretization (exact on chains) and ε_train are computed apart, from separate draws; for "
        "L = 6 as sums over every mask pattern, with the TV of the output law beside the certificate of `PlanKL`."
    )
    keys = ("data", "T", "delta")
    uses_seed = True
    repeats = False

    def measure(self, work: Work) -> list[Row]:
        """Train, then measure the three numbers for several T."""
        rows: list[Row] = []
        for name, (width, depth, steps, batch, draws) in (QUICK if work.quick else SETTINGS).items():
            target = data(name)
            model, losses = train(target, width, depth, steps, batch, work, name)
            facts: Row = {"data": name, "updates": steps, "last_loss": float(losses[-50:].mean())}
            facts["uniform"] = target.space.length * math.log(target.space.vocab_size) - float(target.entropy())
            for number, t in enumerate(work.track(STEPS[target.space.length], f"{name}: measuring")):
                sizes = balanced_sizes(target.space.length, t)
                found = (
                    summed(target, model, sizes)
                    if draws == 0
                    else drawn(target, model, sizes, draws, 1000 * work.seed + 10 * number)
                )
                rows.append({**facts, "T": t, **found})
        return rows + mixtures(500 if work.quick else 4000, work)

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Additivity and learning."""
        checks = []
        for name in dict.fromkeys(row["data"] for row in rows):
            some = select(rows, data=name)
            excess = [row["total"] - row["discretization"] - row["training"] for row in some]
            if some[0].get("stderr") is None:
                checks.append(
                    at_most(f"{name}: |total - discretization - ε_train|, largest", max(map(abs, excess)), 1e-7, PAPER)
                )
                ratio = max(row["tv"] / row["certificate"] for row in some)
                checks.append(at_most(f"{name}: largest TV of the output law / certificate", ratio, 1.0, PAPER))
            else:
                z = [gap / row["stderr"] for gap, row in zip(excess, some, strict=True)]
                what = f"{name}: total - discretization - ε_train, largest in standard errors"
                checks.append(at_most(what, max(map(abs, z)), 4.5, PAPER))
                shown = min(row["total"] / row["stderr"] for row in some)
                checks.append(
                    at_least(f"{name}: smallest total in standard errors", shown, 3.0, "there is something to add")
                )
            if name == MIXED:
                z = [(row["training"] - MIXTURES[row["delta"]]) / row["training_stderr"] for row in some]
                what = f"{name}: ε_train - reference, largest in standard errors"
                checks.append(at_most(what, max(map(abs, z)), 4.5, "reference by transfer matrices"))
                continue
            # An untrained network predicts the uniform law, whose error adds up to this.
            share = max(row["training"] / (row["uniform"] - row["discretization"]) for row in some if row["T"] > 1)
            if some[0]["updates"] >= ENOUGH:
                checks.append(
                    at_most(f"{name}: largest ε_train / that of an untrained network", share, 0.75, "learning")
                )
            least = min(row["training"] for row in some)
            checks.append(at_least(f"{name}: smallest ε_train", least, 1e-6, "a trained network is not perfect"))
        return checks

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """The three numbers against T, one panel a data set."""
        panels = []
        for name in dict.fromkeys(row["data"] for row in rows):
            some = select(rows, data=name)
            t = [row["delta" if name == MIXED else "T"] for row in some]
            both = [row["discretization"] + row["training"] for row in some]
            curves = [
                Curve("total", t, [row["total"] for row in some], "points", 0),
                Curve("discretization + ε_train", t, both, "bound", 0),
                Curve("discretization", t, [row["discretization"] for row in some], color=1),
                Curve("ε_train", t, [row["training"] for row in some], color=2),
            ]
            panels.append(Panel(name, "δ" if name == MIXED else "steps T", "KL, nats", curves))
        return panels

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """All of it."""
        return columns(rows, "data", "T", "delta", "total", "discretization", "training", "stderr", "tv", "certificate")


def mixtures(draws: int, work: Work) -> list[Row]:
    """Predictors mixed with the uniform law, whose training error is known from elsewhere."""
    target, sizes = PottsChain(num_states=4, length=32, coupling=1.0), balanced_sizes(32, 8)
    exact, rows = target.denoiser(forward(target)), []
    for number, delta in enumerate(work.track(list(MIXTURES), MIXED)):
        model = Floored(exact, delta)
        seed = 1000 * work.seed + 100 + 2 * number
        total, first = by_draws(target, model, sizes, draws, seed)
        training, second = training_error(target, model, exact, sizes, draws, seed + 1)
        row: Row = {"data": MIXED, "T": 8, "delta": delta, "total": total, "training": training}
        row |= {"discretization": plan_kl(target, sizes).terms["kl"], "stderr": math.hypot(first, second)}
        rows.append({**row, "training_stderr": second})
    return rows


def data(name: str) -> Any:
    """The law to learn."""
    if name == "digits":
        from ddm_pyro.distributions import Tabular as Law

        rows = Digits().train
        probs = torch.full((len(rows),), 1.0 / len(rows), dtype=torch.float64)
        return Tabular(Law(atoms=rows, probs=probs, space=Digits().space))
    states, length = (3, 6) if name == "Potts K=3 L=6" else (4, 16)
    return PottsChain(num_states=states, length=length, coupling=1.0)


def train(
    target: Any, width: int, depth: int, steps: int, batch: int, work: Work, name: str
) -> tuple[Parameterization, torch.Tensor]:
    """A perceptron fitted to draws of the target, and its losses."""
    process = forward(target)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(work.seed)
        model = MaskPredictor(MLP.for_process(process, width=width, depth=depth), process)

        def tell(done: int, loss: float) -> None:
            work.tell(done, steps, f"{name}: training, loss {loss:.3g}")

        result = fit(
            model,
            target,
            loss=NELBO(),
            steps=steps,
            batch_size=batch,
            lr=1e-3,
            seed=work.seed,
            ema=0.99,
            warmup=20,
            progress=tell,
        )
    model.eval()
    return model, result.losses


def summed(target: Any, model: Parameterization, sizes: Sequence[int]) -> Row:
    """Total, discretization and eps_train over every pattern; the law of the output."""
    known = Tabular(target.tabular())
    sampler, perfect = KUnmask(tuple(sizes)), Tabular(target.tabular()).denoiser(model.process)
    found = PlanKL()(target=known, model=model, sampler=sampler)
    steps = PlanKL()(target=known, model=perfect, sampler=sampler)
    law = push(sampler, model)
    row: Row = {"total": cross_entropy_excess(target, model, sizes), "discretization": steps.terms["kl"]}
    row |= {"training": found.terms["score"], "tv": TotalVariation()(law, target.tabular()).value}
    return {**row, "certificate": found.value}


def cross_entropy_excess(target: Any, model: Parameterization, sizes: Sequence[int]) -> float:
    """sum over blocks of the mean cross-entropy of what they draw, over every x_0 and every known set, less H."""
    space, total = target.space, 0.0
    x0, pmf, known = space.enumerate(), target.tabular().pmf, 0
    for size in sizes:
        sets = [s for s in torch.cartesian_prod(*[torch.tensor([False, True])] * space.length) if int(s.sum()) == known]
        for chosen in sets:
            xt = torch.where(chosen, x0, space.vocab_size)
            log_p = model.x0_log_probs(xt, torch.zeros((), dtype=torch.float64)).double().log_softmax(-1)
            losses = -log_p.gather(-1, x0.unsqueeze(-1)).squeeze(-1)
            mean = (pmf * torch.where(chosen, 0.0, losses).sum(-1)).sum() / (space.length - known)
            total += size * float(mean) / len(sets)
        known += size
    return total - float(target.entropy())


def drawn(target: Any, model: Parameterization, sizes: Sequence[int], rows: int, seed: int) -> Row:
    """The three numbers from three sets of draws, and the standard error of total - discretization - eps_train."""
    exact = target.denoiser(model.process)
    total, first = by_draws(target, model, sizes, rows, seed)
    if isinstance(target, PottsChain):
        steps, second = plan_kl(target, sizes).terms["kl"], 0.0
    else:
        steps, second = by_draws(target, exact, sizes, rows, seed + 1)
    training, third = training_error(target, model, exact, sizes, rows, seed + 2)
    row = {"total": total, "discretization": steps, "training": training}
    return {**row, "stderr": math.sqrt(first**2 + second**2 + third**2)}
