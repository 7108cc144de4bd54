"""The core's own components, registered through the same hooks as everyone else's. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from ddm_pyro.plugins import (
    BoundSpec,
    LossSpec,
    MetricSpec,
    ParameterizationSpec,
    RateSpec,
    RendererSpec,
    SamplerSpec,
    ScheduleSpec,
    TargetSpec,
    hookimpl,
)
from ddm_pyro.plugins.specs import Spec

Register = Callable[[Spec], None]


@hookimpl
def register_rates(register: Register) -> None:
    """Rate matrices of one token."""
    home = "ddm_pyro.rates"
    register(RateSpec("uniform", factory=f"{home}:Uniform", summary="a token is replaced by a uniform one at rate 1"))
    register(RateSpec("masked", factory=f"{home}:Masked", summary="every token turns into the mask at rate 1"))
    register(RateSpec("dense", factory=f"{home}:Dense", summary="any generator, given as a matrix"))
    register(RateSpec("rank-one", factory=f"{home}:RankOne", summary="tokens are refreshed from any law at rate 1"))


@hookimpl
def register_schedules(register: Register) -> None:
    """Noise schedules."""
    home = "ddm_pyro.schedules"
    register(ScheduleSpec("linear", factory=f"{home}:Linear", summary="alpha = 1 - t"))
    register(ScheduleSpec("log-linear", factory=f"{home}:LogLinear", summary="alpha = 1 - (1 - eps) t"))
    register(ScheduleSpec("cosine", factory=f"{home}:Cosine", summary="alpha = 1 - cos(pi (1 - t) / 2)"))
    register(ScheduleSpec("geometric", factory=f"{home}:Geometric", summary="sigma = smin^(1-t) smax^t - smin"))
    register(ScheduleSpec("constant", factory=f"{home}:Constant", summary="sigma = total t"))


@hookimpl
def register_parameterizations(register: Register) -> None:
    """What a network's output means."""
    home = "ddm_pyro.parameterizations"
    register(ParameterizationSpec("x0", factory=f"{home}:X0", summary="logits of the clean token given x_t"))
    register(
        ParameterizationSpec(
            "leave-one-out",
            factory=f"{home}:LeaveOneOut",
            summary="logits given the other tokens; the token's own evidence exact",
        )
    )
    register(ParameterizationSpec("score", factory=f"{home}:Score", summary="log p_t(y) / p_t(x) for the jumps y"))
    register(
        ParameterizationSpec(
            "mask-predictor", factory=f"{home}:MaskPredictor", summary="masked tokens from revealed ones, time-free"
        )
    )
    register(ParameterizationSpec("exact", factory=f"{home}:Exact", summary="the target's own posterior, computed"))


@hookimpl
def register_losses(register: Register) -> None:
    """Training losses."""
    home = "ddm_pyro.losses"
    register(LossSpec("nelbo", factory=f"{home}:NELBO", summary="continuous-time bound on -log p(x_0)"))
    register(LossSpec("score-entropy", factory=f"{home}:ScoreEntropy", summary="score entropy of the ratio score"))
    register(LossSpec("score-matching", factory=f"{home}:ScoreMatching", summary="squared error of the ratio score"))
    register(LossSpec("generalized-kl", factory=f"{home}:GeneralizedKL", summary="generalised KL of mixture paths"))
    register(LossSpec("discrete-nelbo", factory=f"{home}:DiscreteNELBO", summary="bound of a sampler's own N steps"))
    register(LossSpec("mask-size-weighted", factory=f"{home}:MaskSizeWeighted", summary="bound of k-unmask sampling"))
    register(LossSpec("ratio-matching", factory=f"{home}:RatioMatching", summary="each noised token from the others"))
    register(LossSpec("cross-entropy", factory=f"{home}:CrossEntropy", summary="-log p(x_0 | x_t), unweighted"))


@hookimpl
def register_samplers(register: Register) -> None:
    """Samplers of the reverse process."""
    home = "ddm_pyro.samplers"
    register(
        SamplerSpec(
            "ancestral",
            factory=f"{home}:Ancestral",
            summary="bridge averaged over the x0-posterior (Tweedie tau-leaping)",
            reference="arXiv:2107.03006, arXiv:2310.16834",
        )
    )
    register(SamplerSpec("euler", factory=f"{home}:Euler", summary="jump chain of I + h R, one jump a position"))
    register(
        SamplerSpec(
            "tau-leaping",
            factory=f"{home}:TauLeaping",
            summary="Poisson jumps at held rates, one a position kept",
            reference="arXiv:2205.14987",
        )
    )
    register(
        SamplerSpec(
            "first-hitting",
            factory=f"{home}:FirstHitting",
            summary="masks revealed one by one at their hitting times; exact but for the predictor",
            reference="arXiv:2409.02908",
            capabilities={"masked"},
        )
    )
    register(
        SamplerSpec(
            "k-unmask",
            factory=f"{home}:KUnmask",
            summary="a given number of masks revealed a step",
            reference="arXiv:2505.21400",
            capabilities={"masked"},
        )
    )
    register(SamplerSpec("gillespie", factory=f"{home}:Gillespie", summary="rates frozen in time, exact in the state"))
    register(
        SamplerSpec(
            "uniformization",
            factory=f"{home}:Uniformization",
            summary="exact in time, events thinned from a bound",
            reference="arXiv:2402.08095",
        )
    )
    register(
        SamplerSpec("gibbs-corrector", factory=f"{home}:GibbsCorrector", summary="one heat-bath update at fixed time")
    )


@hookimpl
def register_targets(register: Register) -> None:
    """Laws and data sets to learn and to be judged on."""
    home = "ddm_pyro.targets"
    register(TargetSpec("tabular", factory=f"{home}:Tabular", summary="a law given by its pmf"))
    register(TargetSpec("random-tabular", factory=f"{home}:RandomTabular", summary="a random law on a small space"))
    register(TargetSpec("product", factory=f"{home}:Product", summary="independent positions"))
    register(TargetSpec("markov-chain", factory=f"{home}:MarkovChain", summary="a Markov chain, any length"))
    register(TargetSpec("potts-chain", factory=f"{home}:PottsChain", summary="the Potts model on a line or ring"))
    register(TargetSpec("ising-grid", factory=f"{home}:IsingGrid", summary="the Ising model on a small grid"))
    register(
        TargetSpec(
            "digits",
            factory=f"{home}:Digits",
            summary="1797 real 8 x 8 images of handwritten digits, 17 grey levels",
            reference="UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
        )
    )
    register(
        TargetSpec(
            "file",
            factory=f"{home}:File",
            summary="your own data: a .npy, .csv, .tsv or .txt file",
            capabilities={"reads-path"},
        )
    )
    register(
        TargetSpec(
            "survey",
            factory=f"{home}:Survey",
            summary="6366 answers to eight ordinal questions",
            reference="Fair (1978), Journal of Political Economy 86, as statsmodels ships it",
            requires={"survey"},
        )
    )
    register(
        TargetSpec(
            "motif",
            factory=f"{home}:Motif",
            summary="a DNA motif, an exact product law",
            reference="JASPAR 2024, CC BY 4.0",
        )
    )
    register(
        TargetSpec(
            "text",
            factory=f"{home}:Text",
            summary="English of the Python manual, 27 symbols, windows",
            reference="pydoc_data.topics of the running Python, PSF licence",
        )
    )


@hookimpl
def register_metrics(register: Register) -> None:
    """Distances between laws, and statistics of them."""
    home = "ddm_pyro.metrics"
    register(MetricSpec("tv", factory=f"{home}:TotalVariation", summary="total variation, half the l1 distance"))
    register(MetricSpec("position-tv", factory=f"{home}:PositionTV", summary="total variation of one-token marginals"))
    register(MetricSpec("block-tv", factory=f"{home}:BlockTV", summary="total variation of n-grams or blocks"))
    register(
        MetricSpec(
            "bounded-lipschitz",
            factory=f"{home}:BoundedLipschitz",
            summary="Fortet-Mourier: |f| <= 1 and Lipschitz for the Hamming distance",
        )
    )
    register(MetricSpec("w1-hamming", factory=f"{home}:HammingWasserstein", summary="Wasserstein-1, Hamming distance"))
    register(MetricSpec("mmd-hamming", factory=f"{home}:HammingMMD", summary="MMD with exp(-Hamming / bandwidth)"))
    register(MetricSpec("kl", factory=f"{home}:KL", summary="KL(data || sampler), nats"))
    register(MetricSpec("nll", factory=f"{home}:NLL", summary="cross entropy of the data under the sampler, nats"))
    register(MetricSpec("unigram-entropy", factory=f"{home}:UnigramEntropy", summary="entropy of the pooled tokens"))
    register(MetricSpec("duplicates", factory=f"{home}:Duplicates", version=2, summary="share of repeated sequences"))


@hookimpl
def register_bounds(register: Register) -> None:
    """Certificates on the scale of total variation."""
    home, adjoint = "ddm_pyro.bounds", "Adjoint IPM certificates for discrete diffusion, arXiv 2605.17232"
    for name, factory, summary in (
        ("adjoint-ipm", "AdjointIPM", "Theorem 5.1: score losses in continuous time, masked and uniform"),
        ("path-kl", "PathKL", "prior mismatch plus the KL of the reverse paths"),
        ("conditioned-path-kl", "ConditionedPathKL", "KL of the paths from all masks: no boundary term"),
        ("row", "Row", "total variation of the rates, integrated"),
        ("generalized-pinsker", "GeneralizedPinsker", "numbers of jumps times the path KL"),
        ("exit-routing", "ExitRouting", "errors of when to jump and of where to, apart"),
        ("local", "Local", "row bound that knows revealed tokens stay"),
        ("kernel-tv", "KernelTV", "learned against exact reverse kernel, tiny spaces"),
        ("best", "Best", "the smallest certificate that applies"),
    ):
        register(BoundSpec(name, factory=f"{home}:{factory}", summary=summary, reference=adjoint))
    blocks = "Li and Cai, arXiv 2505.21400"
    for name, factory, summary, reference in (
        ("kernel-kl", "KernelKL", "KL of a sampler's own steps, score and discretization in one", adjoint),
        ("plan-kl", "PlanKL", "the same given the masked sampler's own plan", blocks),
    ):
        register(BoundSpec(name, factory=f"{home}:{factory}", summary=summary, reference=reference))


@hookimpl
def register_renderers(register: Register) -> None:
    """Reports from rows."""
    register(RendererSpec("html", factory="ddm_pyro.report:HtmlReport", summary="one self-contained page"))
