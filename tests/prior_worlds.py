"""Small reverse processes with unequal laws, whose exact laws ``push`` lists: what diffusion priors are tested on."""

from __future__ import annotations

import torch
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import rates, samplers, schedules

LENGTH, VOCAB = 3, 3


class Net(nn.Module):
    """Logits from all tokens, the time and, if wanted, conditions (n, L)."""

    def __init__(self, symbols, vocab=VOCAB, length=LENGTH, seed=0, dtype=torch.float64, timed=True):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vocab, self.timed = vocab, timed
        self.table = nn.Parameter(
            torch.randn(length, symbols, length, vocab, generator=generator, dtype=torch.float64).to(dtype)
        )
        self.slope = nn.Parameter(torch.randn(length, vocab, generator=generator, dtype=torch.float64).to(dtype))

    def forward(self, x, t, y=None):
        positions = torch.arange(x.shape[-1], device=x.device)
        out = self.table[positions, x].sum(-3)
        out = out + (t[..., None, None] * self.slope if self.timed else 0.0)
        return out if y is None else out + y.to(out)[..., None] * self.slope


class AsScore(ddm.Parameterization):
    """A model that gives ratios: its steps have no plan, even where noise is a mask."""

    primary = "score"

    def __init__(self, inner):
        super().__init__(inner.process)
        self.inner = inner

    def log_score(self, x, t):
        return self.inner.log_score(x, t)


class AsRates(AsScore):
    """The same, with the x0-posterior known as well: what is left at time 0 can be drawn."""

    def x0_log_probs(self, x, t, *, at=None):
        return self.inner.x0_log_probs(x, t, at=at)


def masked(length=LENGTH, vocab=VOCAB, schedule=None):
    return ddm.ForwardProcess(rates.Masked(vocab), schedule or schedules.Linear(), length=length)


def uniform(length=LENGTH, vocab=VOCAB):
    return ddm.ForwardProcess(rates.Uniform(vocab), schedules.Linear(), length=length)


def columns():
    return ddm.ForwardProcess([rates.Masked(3), rates.Masked(2), rates.Masked(1)], schedules.Cosine())


def model(forward, head=ddm.X0, **options):
    space = forward.space
    return head(Net(space.num_symbols, space.vocab_size, space.length, **options), forward)


def target(length=LENGTH, vocab=VOCAB, seed=3):
    weights = torch.rand((vocab,) * length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    weights.view(-1)[5] = 0.0
    return ddm.targets.Tabular(weights / weights.sum())


#: name -> (sampler, model, steps): masked with a plan
PLANNED = {
    "first-hitting": lambda: (samplers.FirstHitting(), model(masked()), None),
    "first-hitting, two at a time": lambda: (
        samplers.FirstHitting(2),
        model(masked(schedule=schedules.LogLinear())),
        None,
    ),
    "k-unmask": lambda: (samplers.KUnmask((1, 2)), model(masked(), ddm.MaskPredictor), None),
    "ancestral": lambda: (samplers.Ancestral(), model(masked(schedule=schedules.Cosine())), 2),
    "euler": lambda: (samplers.Euler(), model(masked(schedule=schedules.LogLinear(0.2))), 3),
    "exact, first-hitting": lambda: (samplers.FirstHitting(), target().denoiser(masked()), None),
    "columns": lambda: (samplers.FirstHitting(), model(columns()), None),
    "one position": lambda: (samplers.FirstHitting(), model(masked(1, 2)), None),
}
#: by chains of states
CHAINS = {
    "uniform, ancestral": lambda: (samplers.Ancestral(), model(uniform()), 3),
    "uniform, exact, one step": lambda: (samplers.Ancestral(), target().denoiser(uniform()), 1),
    "uniform, tau-leaping": lambda: (
        samplers.TauLeaping(),
        model(ddm.ForwardProcess(rates.Uniform(3), schedules.Constant(2.0), length=LENGTH)),
        3,
    ),
    "masked, by score": lambda: (
        samplers.Ancestral(),
        AsScore(target(2).denoiser(masked(2, schedule=schedules.LogLinear(0.1)))),
        2,
    ),
    "masked, by rates": lambda: (
        samplers.TauLeaping(),
        AsRates(target(2).denoiser(masked(2, schedule=schedules.LogLinear(0.1)))),
        2,
    ),
}
ALL = PLANNED | CHAINS


def pushed(sampler, model, steps):
    """log P over the data in index order, by the exact twin of the loop."""
    return ddm.push(sampler, model, steps=steps).pmf.log()
