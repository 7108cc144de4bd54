"""Guided models against the exact models of the tilted laws."""

from __future__ import annotations

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.infer import ClassifierFreeGuidance, ClassifierGuidance

SIZES = (3, 2, 3)
PROCESSES = {
    "masked": lambda: ddm.ForwardProcess([ddm.rates.Masked(v) for v in SIZES], ddm.schedules.Linear()),
    "uniform": lambda: ddm.ForwardProcess([ddm.rates.Uniform(v) for v in SIZES], ddm.schedules.Constant(total=2.0)),
}
PRIOR = ddm.targets.random_tabular(SIZES, seed=1)
LABEL = ddm.targets.random_tabular((*SIZES, 2), seed=7).pmf.reshape(-1, 2)
LABEL = LABEL / LABEL.sum(-1, keepdim=True)  # p(y | x)


def conditioned(y):
    weights = PRIOR.pmf * LABEL[:, y]
    return ddm.targets.Tabular(weights / weights.sum(), space=PRIOR.space)


def noisy_classifier(process):
    """log p(y | x_t), by summing over every x_0."""
    atoms = PRIOR.space.enumerate()

    def classifier(x, t, y):
        # With masks the time says nothing of y; at t = 1 a candidate with a token would have probability zero.
        t = t.clamp(max=0.9)
        kernel = process.marginal(atoms.unsqueeze(1), t.reshape(1, -1)).log_prob(x.unsqueeze(0)).exp()  # (S, n)
        joint = (PRIOR.pmf.unsqueeze(-1) * LABEL).T @ kernel  # (y, n)
        log_p = (joint / joint.sum(0)).log()
        return log_p[y, torch.arange(len(x))] if torch.is_tensor(y) else log_p[y]

    return classifier


def some_states(process, n=12):
    torch.manual_seed(0)
    x0 = PRIOR.sample((n,))
    return process.marginal(x0, torch.tensor(0.6)).sample()


T = torch.tensor(0.6, dtype=torch.float64)


def test_a_masked_model_with_an_exact_classifier_is_the_model_of_the_conditioned_law():
    process = PROCESSES["masked"]()
    guided = ClassifierGuidance(PRIOR.denoiser(process), noisy_classifier(process), y=1)
    x = some_states(process)
    exact = conditioned(1).denoiser(process)
    torch.testing.assert_close(guided.x0_log_probs(x, T).exp(), exact.x0_log_probs(x, T).exp())
    at = process.space.is_mask(x).reshape(-1).nonzero().squeeze(-1)
    torch.testing.assert_close(guided.x0_log_probs(x, T, at=at).exp(), exact.x0_log_probs(x, T, at=at).exp())
    law = ddm.push(ddm.samplers.Ancestral(), guided, steps=3)
    torch.testing.assert_close(law.pmf, ddm.push(ddm.samplers.Ancestral(), exact, steps=3).pmf)


def test_a_uniform_model_is_guided_on_its_score():
    process = PROCESSES["uniform"]()
    guided = ClassifierGuidance(PRIOR.denoiser(process), noisy_classifier(process), y=0)
    exact = conditioned(0).denoiser(process)
    x = some_states(process)
    assert guided.primary == "score"
    sizes = torch.tensor(SIZES).unsqueeze(-1)
    real = torch.arange(3) < sizes
    torch.testing.assert_close(guided.log_score(x, T).exp()[:, real], exact.log_score(x, T).exp()[:, real])
    torch.testing.assert_close(guided.x0_log_probs(x, T).exp(), exact.x0_log_probs(x, T).exp())


def test_rows_have_labels_of_their_own():
    process = PROCESSES["masked"]()
    x = some_states(process)
    y = torch.arange(len(x)) % 2
    guided = ClassifierGuidance(PRIOR.denoiser(process), noisy_classifier(process)).bind(y=y)
    found = guided.rows(torch.tensor([5, 2])).x0_log_probs(x[[5, 2]], T).exp()
    for row, index in enumerate((5, 2)):
        exact = conditioned(int(y[index])).denoiser(process).x0_log_probs(x[index : index + 1], T).exp()[0]
        torch.testing.assert_close(found[row], exact)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("weight", [0.0, 0.7, 2.5])
def test_first_order_is_exact_for_a_linear_classifier(name, weight):
    process = PROCESSES[name]()
    slope = torch.randn(3, process.space.num_symbols, generator=torch.Generator().manual_seed(1))
    hot = lambda x: torch.nn.functional.one_hot(x, process.space.num_symbols).float()  # noqa: E731
    linear = lambda h, t: (h * slope).sum((-1, -2)) + t.float()  # noqa: E731
    model = PRIOR.denoiser(process)
    first = ClassifierGuidance(model, linear, weight, "first-order")
    tried = ClassifierGuidance(model, lambda x, t: linear(hot(x), t), weight)
    x = some_states(process)
    view = "x0_log_probs" if name == "masked" else "log_score"
    with torch.no_grad():
        found, exact = getattr(first, view)(x, T).exp(), getattr(tried, view)(x, T).exp()
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
    if weight == 0.0:
        torch.testing.assert_close(found, getattr(model, view)(x, T).exp())


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5, -0.5])
def test_classifier_free_mixture(weight):
    process = PROCESSES["masked"]()
    a, b = conditioned(1).denoiser(process), PRIOR.denoiser(process)
    x = some_states(process)
    found = ClassifierFreeGuidance(a, b, weight).x0_log_probs(x, T).exp()
    p, q = a.x0_log_probs(x, T).exp(), b.x0_log_probs(x, T).exp()
    support = (p > 0) & (q > 0)
    mixed = torch.where(support, p**weight * q ** (1 - weight), 0.0)
    torch.testing.assert_close(found, mixed / mixed.sum(-1, keepdim=True))
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]))


def test_mixtures_of_scores():
    process = PROCESSES["uniform"]()
    parts = [ClassifierGuidance(PRIOR.denoiser(process), lambda x, t: 0.0 * t, y) for y in (1.0, 0.5)]
    x = some_states(process)
    found = ClassifierFreeGuidance(*parts, 3.0).log_score(x, T)
    torch.testing.assert_close(found, PRIOR.denoiser(process).log_score(x, T))


def test_what_is_excluded_stays_excluded():
    forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=1)
    a, b = (ddm.targets.Product([p]).denoiser(forward) for p in ([0.5, 0.5, 0.0], [0.0, 0.5, 0.5]))
    x = torch.tensor([[3]])
    assert ClassifierFreeGuidance(a, b, 3.0).x0_log_probs(x, T).exp().tolist() == [[[0.0, 1.0, 0.0]]]
    c = ddm.targets.Product([[0.0, 0.0, 1.0]]).denoiser(forward)
    assert ClassifierFreeGuidance(a, c, 3.0).x0_log_probs(x, T).exp().tolist() == [[[0.5, 0.5, 0.0]]]


def test_a_guided_model_is_a_prior():
    process = PROCESSES["masked"]()
    guided = ClassifierFreeGuidance(conditioned(1).denoiser(process), PRIOR.denoiser(process), 1.0)
    assert guided.time_free
    law = ddm.push(ddm.samplers.FirstHitting(), guided)
    torch.testing.assert_close(law.pmf, conditioned(1).pmf)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, u: ClassifierFreeGuidance(m, u, 1.0), "disagree"),
        (lambda m, u: ClassifierFreeGuidance(m, m, float("nan")), "finite"),
        (lambda m, u: ClassifierGuidance(m, None, method="second"), "'exact' or 'first-order'"),
        (lambda m, u: ClassifierGuidance(m, None, float("inf")), "finite"),
    ],
)
def test_refusals(make, message):
    masked, uniform = (PRIOR.denoiser(process()) for process in PROCESSES.values())
    with pytest.raises(ValueError, match=message):
        make(masked, uniform)
