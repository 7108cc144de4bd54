"""Claim: how a batch covers times and noise changes the spread of the gradient of a loss, and never its mean.

Trains a small model of a Potts chain for 300 steps, then draws batches of 64 from it under each arrangement of ``fit``
and prints the variance of the batch loss and of its gradient (a token, summed over the weights), with the mean loss.

    python benchmarks/batch_variance.py masked NELBO [--batches 400]
"""

from __future__ import annotations

import argparse

import torch

import ddm_pyro as ddm
from ddm_pyro import losses, networks, random, rates, schedules
from ddm_pyro.training.data import draw_batch, open_data
from ddm_pyro.training.times import open_times

LENGTH, STATES, BATCH, SETTLING = 16, 4, 64, 60
CPU = torch.device("cpu")
ARRANGEMENTS = [
    ("uniform", "independent"),
    ("stratified", "independent"),
    ("antithetic", "independent"),
    ("importance", "independent"),
    ("uniform", "low-variance"),
    ("stratified", "low-variance"),
    ("importance", "low-variance"),
]


def trained(kind: str, loss: losses.Loss, target: ddm.targets.PottsChain) -> ddm.Parameterization:
    rate = rates.Masked(STATES) if kind == "masked" else rates.Uniform(STATES)
    schedule = schedules.Linear() if kind == "masked" else schedules.LogLinear()
    process = ddm.ForwardProcess(rate, schedule, length=LENGTH)
    torch.manual_seed(0)
    network = networks.Transformer.for_process(process, width=32, depth=2, heads=2)
    model = ddm.X0(network, process) if kind == "masked" else ddm.LeaveOneOut(network, process)
    ddm.fit(model, target, loss=loss, steps=300, batch_size=BATCH, lr=3e-3, ema=None, progress=False)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["masked", "uniform"])
    parser.add_argument("loss", choices=["NELBO", "CrossEntropy", "ScoreEntropy", "GeneralizedKL"])
    parser.add_argument("--batches", type=int, default=400)
    given = parser.parse_args()
    loss: losses.Loss = getattr(losses, given.loss)()
    target = ddm.targets.PottsChain(num_states=STATES, length=LENGTH, coupling=1.5)
    model = trained(given.kind, loss, target)
    weights, source = list(model.parameters()), open_data(target, model.process, CPU)
    print(f"{given.kind} {given.loss}: times, noise, mean loss, its variance, variance of the gradient")
    for times, noise in ARRANGEMENTS:
        law, values, gradients = open_times(times, CPU), [], []
        for k in range(given.batches + SETTLING):
            with random.indexed(5, range(k * BATCH, (k + 1) * BATCH)):
                batch = draw_batch(source, model.process, BATCH, CPU, loss, law, noise)
            each = loss(model, batch.x0, batch.xt, batch.t)
            law.update(batch.u, each.detach())
            if k < SETTLING:
                continue
            value = (each if batch.weight is None else batch.weight * each).mean()
            found = torch.autograd.grad(value / LENGTH, weights, allow_unused=True)
            gradients.append(torch.cat([g.flatten() for g in found if g is not None]))
            values.append(value.item())
        spread, value = torch.stack(gradients).var(0).sum(), torch.tensor(values)
        print(f"{times:>10} {noise:>12} {value.mean():9.4f} {value.var():9.4f} {spread:10.5f}", flush=True)


if __name__ == "__main__":
    main()
