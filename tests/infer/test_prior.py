"""DiffusionPrior: each density is the one it says, and its draws follow it."""

from __future__ import annotations

import copy
import io
import math
import pickle

import pyro
import pytest
import torch
from prior_worlds import ALL, PLANNED, AsScore, Net, columns, masked, model, pushed, target, uniform
from pyro import poutine
from pyro.distributions.testing.gof import multinomial_goodness_of_fit

import ddm_pyro as ddm
from ddm_pyro import samplers
from ddm_pyro.infer import DiffusionPrior, TimeOfMasks
from ddm_pyro.infer.subsets import revealed_log_prob

#: Standard errors at which a mean is off with probability 2e-5.
SIGMAS = 4.3
FAILURE = 2e-5


def make(world, density, **options):
    sampler, model, steps = ALL[world]()
    return DiffusionPrior(sampler, model, density, steps, **options)


@pytest.mark.parametrize("world", ALL)
def test_exact_density_is_the_pushed_law(world) -> None:
    prior = make(world, "exact")
    log_p = prior.log_prob(prior.enumerate_support())
    torch.testing.assert_close(log_p.exp(), pushed(prior.sampler, prior.model, ALL[world]()[2]).exp())
    torch.testing.assert_close(log_p.exp().sum(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("world", PLANNED)
def test_sum_over_revealed_sets_is_the_pushed_law(world) -> None:
    prior = make(world, "exact")
    states = prior.enumerate_support()
    expected = pushed(prior.sampler, prior.model, ALL[world]()[2])
    torch.testing.assert_close(revealed_log_prob(prior.reverse, states).exp(), expected.exp())


def test_exact_density_beyond_the_spaces_that_can_be_pushed() -> None:
    weights = torch.tensor([[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7]] * 4, dtype=torch.float64)
    truth = ddm.targets.Product(weights)
    forward = masked(8, 4)
    prior = DiffusionPrior(samplers.FirstHitting(3), truth.denoiser(forward), "exact")
    x = torch.randint(0, 4, (5, 8), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.log_prob(x), truth.log_prob(x))


@pytest.mark.parametrize("world", ["first-hitting", "ancestral", "columns"])
@pytest.mark.parametrize("plan", [None, "last first"])
def test_fixed_density_is_the_chain_rule_along_the_plan(world, plan) -> None:
    length = ALL[world]()[1].process.space.length
    steps = ALL[world]()[2] or length
    given = None if plan is None else [max(steps - 1 - position, 0) for position in range(length)]
    prior = make(world, "fixed", plan=given)
    order = [position * steps // length for position in range(length)] if given is None else given
    states, mask, times = prior.enumerate_support(), prior.model.process.space.mask, prior.reverse.times
    by_hand = torch.zeros(len(states), dtype=torch.float64)
    for row, state in enumerate(states):
        for position, step in enumerate(order):
            seen = torch.tensor([int(state[j]) if order[j] < step else mask for j in range(length)])
            table = prior.model.x0_log_probs(seen.unsqueeze(0), times[step])[0, position]
            by_hand[row] += table[state[position]]
    torch.testing.assert_close(prior.log_prob(states), by_hand)
    torch.testing.assert_close(by_hand.exp().sum(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("world", ALL)
def test_pseudo_density_is_unbiased(world) -> None:
    prior, exact = make(world, "pseudo", num_samples=2), make(world, "exact")
    states = prior.enumerate_support()
    torch.manual_seed(0)
    with torch.no_grad():
        estimates = prior.expand((2000, 1)).log_prob(states.expand(2000, -1, -1)).exp()
        truth = exact.log_prob(states).exp()
    error = (estimates.mean(0) - truth).abs()
    assert (error <= 5.0 * estimates.std(0) / math.sqrt(2000) + 1e-12).all()


@pytest.mark.parametrize("forward", [masked(), uniform()], ids=["masked", "uniform"])
def test_grids_that_end_above_zero(forward) -> None:
    network, times = model(forward), (1.0, 0.6, 0.2)
    exact = DiffusionPrior(samplers.Ancestral(), network, "exact", times=times)
    states = exact.space.enumerate()
    truth = exact.log_prob(states).exp().detach()
    torch.testing.assert_close(truth, ddm.push(samplers.Ancestral(), network, times=times).pmf)
    prior = DiffusionPrior(samplers.Ancestral(), network, "pseudo", times=times, num_samples=2)
    torch.manual_seed(0)
    with torch.no_grad():
        estimates = prior.expand((2000, 1)).log_prob(states.expand(2000, -1, -1)).exp()
    assert ((estimates.mean(0) - truth).abs() <= 5.0 * estimates.std(0) / math.sqrt(2000) + 1e-12).all()
    assert prior.steps == 2


def as_site(law):
    """A draw as a guide makes it: recorded by a trace."""
    return poutine.trace(lambda: pyro.sample("x", law)).get_trace().nodes["x"]["value"]


def test_simulated_data_are_observed_without_bias() -> None:
    prior = make("first-hitting, two at a time", "pseudo", num_samples=1)
    exact = make("first-hitting, two at a time", "exact")
    torch.manual_seed(6)
    with torch.no_grad():
        x = pyro.sample("x", prior.expand((20_000,)))
        drawn = prior.sample((20_000,))
        for data in (x, drawn):
            ratio = (prior.log_prob(data) - exact.log_prob(data)).exp()
            assert abs(ratio.mean().item() - 1.0) < SIGMAS * ratio.std().item() / math.sqrt(20_000)


@pytest.mark.parametrize("sampler", [samplers.Gillespie(), samplers.Uniformization()])
def test_laws_solved_without_gradients_say_so(sampler) -> None:
    network = model(uniform())
    prior = DiffusionPrior(sampler, network, "exact", times=(0.9, 0.4, 0.1))
    x = prior.space.enumerate()
    with pytest.raises(ValueError, match="is solved without gradients"):
        prior.log_prob(x)
    network.requires_grad_(False)
    torch.testing.assert_close(prior.log_prob(x).exp().sum(), torch.ones((), dtype=torch.float64))


def test_an_exact_law_follows_parameters_written_past_autograd() -> None:
    network = model(masked())
    prior = DiffusionPrior(samplers.FirstHitting(), network, "exact")
    x = prior.space.enumerate()
    with torch.no_grad():
        before = prior.log_prob(x)
        for parameter in network.parameters():
            parameter.data.mul_(3.0)  # what ClippedAdam does; the version counter of the tensor stands still
        after = prior.log_prob(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, DiffusionPrior(samplers.FirstHitting(), network, "exact").log_prob(x).detach())


@pytest.mark.parametrize("world", ["first-hitting, two at a time", "ancestral", "uniform, ancestral"])
def test_a_draw_knows_its_own_density_without_bias(world) -> None:
    # E over x ~ p of 1 / estimate(x) is the number of states: the plan that drew x is among those averaged.
    prior = make(world, "pseudo", num_samples=2)
    torch.manual_seed(1)
    with torch.no_grad():
        x = as_site(prior.expand((40_000,)))
        inverse = (-prior.log_prob(x)).exp()
        again, copied = prior.log_prob(x), prior.log_prob(x.clone())
    torch.testing.assert_close(-again, inverse.log())
    assert not torch.equal(copied, again)
    error = abs(inverse.mean().item() - prior.space.num_states)
    assert error < SIGMAS * inverse.std().item() / 200


def test_equal_priors_share_what_a_draw_knows() -> None:
    network = model(masked())
    first, second = (DiffusionPrior(samplers.FirstHitting(), network.bind(), "pseudo") for _ in range(2))
    other = DiffusionPrior(samplers.FirstHitting(), network.bind(), "pseudo", num_samples=3)
    x = as_site(first.expand((50,)))
    with torch.no_grad():
        assert torch.equal(first.log_prob(x), second.log_prob(x))
        assert not torch.equal(first.log_prob(x), other.log_prob(x))


@pytest.mark.parametrize("world", ["first-hitting", "k-unmask", "uniform, ancestral"])
def test_bound_is_the_mean_of_logs_and_below(world) -> None:
    prior, exact = make(world, "bound", num_samples=1), make(world, "exact")
    torch.manual_seed(2)
    with torch.no_grad():
        x = exact.sample((5,))
        logs = prior.expand((4000, 5)).log_prob(x.expand(4000, -1, -1))
        truth = exact.log_prob(x)
        if prior.reverse.planned:
            plans = ddm.infer.plans.PlanLaw(prior.reverse)
            every = plans.enumerate_support().unsqueeze(1)
            values = ddm.infer.plans.Unmasking(prior.reverse, every).log_prob(x)
            mean = (plans.log_prob(every).exp() * values).sum(0)
            assert ((logs.mean(0) - mean).abs() <= 5 * logs.std(0) / math.sqrt(4000) + 1e-12).all()
    assert (logs.mean(0) < truth + 5 * logs.std(0) / math.sqrt(4000)).all()
    assert (logs.mean(0) < truth).any()


@pytest.mark.parametrize("density", ["fixed", "exact", "pseudo", "bound"])
@pytest.mark.parametrize("world", ["first-hitting", "ancestral", "columns", "uniform, ancestral", "masked, by score"])
def test_draws_follow_the_density(world, density) -> None:
    if density == "fixed" and world not in PLANNED:
        with pytest.raises(ValueError, match=r"no plan on .* use density='exact'"):
            make(world, density)
        return
    prior, exact = make(world, density), make(world, density if density == "fixed" else "exact")
    torch.manual_seed(3)
    x = prior.expand((2, 1)).sample((5000,))
    assert x.shape == (5000, 2, 1, prior.event_shape[0])
    counts = torch.bincount(prior.space.index(x).flatten(), minlength=prior.space.num_states)
    probs = exact.log_prob(prior.space.enumerate()).exp().detach()
    often = probs * (1 - probs) * 10_000 > 5
    assert counts[probs == 0].sum() == 0
    merged = torch.cat([probs[often], probs[~often].sum().unsqueeze(0)])
    seen = torch.cat([counts[often], counts[~often].sum().unsqueeze(0)])
    merged, seen = (merged[:-1], seen[:-1]) if merged[-1] * 10_000 < 2 else (merged, seen)
    assert multinomial_goodness_of_fit(merged / merged.sum(), seen, total_count=int(seen.sum())) > FAILURE


@pytest.mark.parametrize("world", ["first-hitting", "ancestral", "uniform, ancestral"])
@pytest.mark.parametrize("density", ["fixed", "exact"])
def test_gradients_are_finite_differences(world, density) -> None:
    sampler, network, steps = ALL[world]()
    if density == "fixed" and world not in PLANNED:
        density = "pseudo"
    prior = DiffusionPrior(sampler, network, density, steps, num_samples=1)
    x, weight = network.network.table, torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    value = torch.tensor([[0, 1, 2], [2, 2, 1], [1, 0, 0]])

    def score():
        torch.manual_seed(4)
        return (prior.log_prob(value) * weight).sum()

    (gradient,) = torch.autograd.grad(score(), x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            x.add_(sign * 1e-5 * direction)
            ends.append(score())
            x.sub_(sign * 1e-5 * direction)
    slope = (ends[0] - ends[1]) / 2e-5
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-8)


def test_entropy_of_small_spaces() -> None:
    prior = make("first-hitting", "exact")
    p = pushed(prior.sampler, prior.model, None).exp()
    torch.testing.assert_close(prior.expand((2,)).entropy(), -(p * p.log()).sum().expand(2))
    with pytest.raises(NotImplementedError, match=r"density='pseudo'.*needs an exact density"):
        make("first-hitting", "pseudo").entropy()


def test_a_kept_law_is_renewed_when_parameters_change() -> None:
    sampler, network, steps = ALL["first-hitting"]()
    prior = DiffusionPrior(sampler, network, "exact")
    x = prior.enumerate_support()
    with torch.no_grad():
        before = prior.log_prob(x)
        assert torch.equal(prior.log_prob(x), before)
        network.network.table.mul_(0.5)
        after = prior.log_prob(x)
    torch.testing.assert_close(after.exp(), pushed(sampler, prior.model, steps).exp())
    assert (after - before).abs().max() > 0.1


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("density", ["fixed", "exact", "pseudo", "bound"])
def test_shapes(density, batch) -> None:
    prior = make("first-hitting", density).expand(batch)
    assert prior.batch_shape == batch
    for extra in [(), (4,), (1, 2)]:
        x = prior.sample(extra)
        assert x.shape == (*extra, *batch, 3)
        assert x.dtype == torch.int64
        log_p = prior.log_prob(x)
        assert (log_p.shape, log_p.dtype) == ((*extra, *batch), torch.float64)
    values = prior.enumerate_support()
    assert values.shape == (27, *batch, 3)
    assert prior.log_prob(prior.enumerate_support(expand=False)).shape == (27, *batch)
    assert prior.has_enumerate_support
    assert prior.support.event_dim == 1
    assert prior.support.is_discrete


def test_conditions_follow_the_last_batch_dimension() -> None:
    network, y = model(masked()), torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for density in ("fixed", "exact"):
        prior = DiffusionPrior(samplers.FirstHitting(), network.bind(y=y), density)
        assert prior.batch_shape == (4,)
        x = prior.expand((2, 4)).sample()
        log_p = prior.log_prob(x)
        assert log_p.shape == (2, 4)
        for row in range(4):
            alone = DiffusionPrior(samplers.FirstHitting(), network.bind(y=y[row : row + 1]), density)
            torch.testing.assert_close(alone.log_prob(x[:, row]), log_p[:, row])
        with pytest.raises(ValueError, match=r"conditioned on 4 rows, but the batch shape is \(4, 3\)"):
            ddm.infer.plans.Unmasking(prior.reverse, torch.zeros(4, 3, 3, dtype=torch.int64)).sample()


def test_conditioned_draws_follow_their_own_row() -> None:
    network = model(masked(1, 2))
    y = torch.tensor([[-9.0], [9.0]], dtype=torch.float64) * network.network.slope[0].diff().sign().detach()
    for density in ("fixed", "exact", "pseudo"):
        prior = DiffusionPrior(samplers.FirstHitting(), network.bind(y=y), density)
        torch.manual_seed(0)
        mean = prior.sample((2000,)).double().mean(0).squeeze(-1)
        expected = prior.log_prob(torch.ones(2, 1, dtype=torch.int64)).exp().detach()
        assert ((mean - expected).abs() < SIGMAS * 0.5 / math.sqrt(2000)).all()
        assert mean[1] > mean[0]


@pytest.mark.parametrize("density", ["fixed", "exact"])
@pytest.mark.parametrize("world", ["first-hitting", "ancestral"])
def test_pickles_and_copies_score_as_the_original(world, density) -> None:
    prior = make(world, density)
    x = prior.sample((6,))
    buffer = io.BytesIO()
    torch.save(prior, buffer)
    buffer.seek(0)
    for twin in (
        copy.copy(prior),
        copy.deepcopy(prior),
        pickle.loads(pickle.dumps(prior)),
        torch.load(buffer, weights_only=False),
    ):
        assert torch.equal(twin.log_prob(x), prior.log_prob(x))
        assert twin.density == density


def test_values_are_validated_when_asked_for() -> None:
    sampler, network, _ = PLANNED["columns"]()
    outside = torch.tensor([0, 2, 0])
    for density in ("fixed", "exact", "pseudo", "bound"):
        with pytest.raises(ValueError, match="support"):
            DiffusionPrior(sampler, network, density, validate_args=True).log_prob(outside)
    assert DiffusionPrior(sampler, network, "fixed", validate_args=False).log_prob(outside) == -torch.inf


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"density": "exakt"}, "density='exakt' must be one of 'fixed', 'pseudo'"),
        ({"density": "pseudo", "num_samples": 0}, "num_samples=0 must be a whole number"),
        ({"density": "exact", "plan": [0, 1, 2]}, "plan= is for density='fixed'"),
        ({"plan": [0, 1]}, "must name the step of each of the 3 positions"),
        ({"plan": [0, 0, 1]}, r"plan=\[0, 0, 1\] is none that"),
        ({"steps": 7}, "takes 3 steps on 3 positions"),
    ],
)
def test_bad_arguments_are_refused(options, match) -> None:
    with pytest.raises(ValueError, match=match):
        DiffusionPrior(samplers.FirstHitting(), model(masked()), **options)


def test_more_refusals() -> None:
    with pytest.raises(ValueError, match="needs steps="):
        DiffusionPrior(samplers.Ancestral(), model(masked()))
    with pytest.raises(ValueError, match="reveals masks, but"):
        DiffusionPrior(samplers.FirstHitting(), model(uniform()), "exact")
    corrected = [samplers.Ancestral(), samplers.GibbsCorrector()]
    with pytest.raises(ValueError, match="needs one sampler"):
        DiffusionPrior(corrected, target().denoiser(uniform()), "pseudo", 2)
    law = DiffusionPrior(corrected, target().denoiser(uniform()), "exact", 2)
    torch.testing.assert_close(law.log_prob(law.enumerate_support()).exp(), pushed(corrected, law.model, 2).exp())
    large = DiffusionPrior(samplers.FirstHitting(), model(masked(40, 4)), "exact")
    with pytest.raises(ValueError, match="pairs of revealed sets a step, more than"):
        large.log_prob(torch.zeros(40, dtype=torch.int64))
    large = DiffusionPrior(samplers.Ancestral(), model(uniform(40, 4)), "exact", 2)
    with pytest.raises(ValueError, match=r"about 10\^24.*density='pseudo'"):
        large.log_prob(torch.zeros(40, dtype=torch.int64))
    assert not large.has_enumerate_support


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_networks_of_any_precision(dtype) -> None:
    network = model(columns(), dtype=dtype)
    for density in ("fixed", "exact", "pseudo", "bound"):
        log_p = DiffusionPrior(samplers.FirstHitting(), network, density).log_prob(
            network.process.space.data.enumerate()
        )
        assert log_p.dtype == torch.float64
        if density in ("fixed", "exact"):
            assert abs(log_p.exp().sum().item() - 1) < 1e-12


def test_time_of_masks_inverts_the_schedule() -> None:
    for forward in (masked(), columns()):
        model_ = TimeOfMasks(model(forward))
        mask, length = forward.space.mask, forward.space.length
        x = torch.tensor([[mask] * k + [0] * (length - k) for k in range(length + 1)])
        torch.testing.assert_close(
            forward.mask_probability(model_.time(x)), torch.arange(length + 1, dtype=torch.float64) / length
        )
        a, b = (model_.x0_log_probs(x, torch.tensor(t)) for t in (0.1, 0.9))
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="is no masked process"):
        TimeOfMasks(model(uniform()))


def test_time_of_masks_forwards_conditions() -> None:
    network, y = model(masked()), torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    x = torch.full((2, 3), 3)
    bound = TimeOfMasks(network).bind(y=y).rows(torch.tensor([1, 0]))
    expected = network.bind(y=y.flip(0)).x0_log_probs(x, torch.tensor(1.0))
    assert torch.equal(bound.x0_log_probs(x, torch.tensor(0.5)), expected)
    assert not torch.equal(expected, TimeOfMasks(network).x0_log_probs(x, torch.tensor(0.5)))
    assert isinstance(network.network, Net)


def chain_prior(density, schedule, steps, sampler=None, **options):
    forward = ddm.ForwardProcess(ddm.rates.Uniform(2), schedule, length=2)
    truth = ddm.targets.Tabular([[0.1, 0.4], [0.3, 0.2]])
    return DiffusionPrior(sampler or samplers.Euler(), truth.denoiser(forward), density, steps, **options)


@pytest.mark.parametrize("steps", [2, 4, 64])
def test_clipped_steps_that_lose_chains_say_so(steps) -> None:
    schedule = ddm.schedules.LogLinear(0.05)
    prior = chain_prior("pseudo", schedule, steps, num_samples=400)
    strict = chain_prior("pseudo", schedule, steps, samplers.Euler(negative="raise"), num_samples=400)
    x = prior.space.enumerate()
    torch.manual_seed(0)
    with torch.no_grad():
        lost = strict_refuses(strict, x)
        if lost:
            with pytest.warns(UserWarning, match=r"\d% of the proposed chains have weight zero.* Use Ancestral\(\)"):
                prior.log_prob(x)
            with pytest.raises(ValueError, match=r"density='bound' is -inf. Use Ancestral\(\), "):
                chain_prior("bound", schedule, steps, num_samples=400).log_prob(x)
        else:
            assert torch.isfinite(prior.log_prob(x)).all()
            assert torch.isfinite(chain_prior("bound", schedule, steps, num_samples=400).log_prob(x)).all()
    assert lost == (steps < 64)


def strict_refuses(prior, x):
    try:
        prior.log_prob(x)
    except ValueError as error:
        return "would leave a token with probability" in str(error)
    return False


@pytest.mark.filterwarnings("ignore:.*have weight zero")
def test_clipped_chains_are_unbiased_all_the_same() -> None:
    prior = chain_prior("pseudo", ddm.schedules.LogLinear(0.3), 2, num_samples=4)
    exact = chain_prior("exact", ddm.schedules.LogLinear(0.3), 2)
    x = prior.space.enumerate()
    torch.manual_seed(1)
    with torch.no_grad():
        estimates = prior.expand((8000, 1)).log_prob(x.expand(8000, -1, -1)).exp()
    assert ((estimates.mean(0) - exact.log_prob(x).exp()).abs() < 5 * estimates.std(0) / math.sqrt(8000)).all()


def test_sequences_without_probability_are_not_blamed_on_clipping() -> None:
    forward = ddm.ForwardProcess(ddm.rates.Uniform(2), ddm.schedules.LogLinear(0.3), length=2)
    truth = ddm.targets.Tabular([[0.5, 0.5], [0.0, 0.0]])
    prior = DiffusionPrior(samplers.Euler(), truth.denoiser(forward), "bound", times=[1.0, 0.95, 0.9], num_samples=50)
    with torch.no_grad():
        log_p = prior.log_prob(prior.space.enumerate())  # would warn or raise
    assert (log_p > -torch.inf).tolist() == [True, True, False, False]


def test_masked_chains_start_in_masks_where_noise_does_not() -> None:
    # alpha(1) = 0.3: the forward process leaves tokens at t = 1, the reverse chain starts without any.
    forward = masked(2, 2, ddm.schedules.LogLinear(0.3))
    truth = AsScore(ddm.targets.Tabular([[0.1, 0.4], [0.3, 0.2]]).denoiser(forward))
    bound, exact = (DiffusionPrior(samplers.Ancestral(), truth, density, 3) for density in ("bound", "exact"))
    x = bound.space.enumerate().expand(500, -1, -1)
    with torch.no_grad():
        below = bound.expand((500, 1)).log_prob(x)
        assert torch.isfinite(below).all()
        assert (below.mean(0) < exact.log_prob(x[0]) + 5 * below.std(0) / math.sqrt(500)).all()


def test_a_draw_is_known_by_its_storage_until_it_is_written_to() -> None:
    prior = make("first-hitting", "pseudo", num_samples=1)
    x = poutine.trace(lambda: pyro.sample("x", prior.expand((40,)))).get_trace().nodes["x"]["value"]
    with torch.no_grad():
        known = prior.log_prob(x)
        assert torch.equal(prior.log_prob(x.detach()), known)
        assert not torch.equal(prior.log_prob(x.clone()), known)
        assert not torch.equal(prior.log_prob(x[:20]), known[:20])
        assert not torch.equal(prior.log_prob(x.flip(0)), known.flip(0))
        x[0] = x[1]
        assert not torch.equal(prior.log_prob(x), known)
