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

# Works that several components are from; several works of one component are separated by semicolons.
D3PM = "Austin et al. 2021, arXiv:2107.03006"
TAU_LEAPING = "Campbell et al. 2022, arXiv:2205.14987"
RATIO_MATCHING = "Sun et al. 2022, arXiv:2211.16750"
CONCRETE_SCORE = "Meng et al. 2022, arXiv:2211.00802"
SEDD = "Lou et al. 2023, arXiv:2310.16834"
MDLM = "Sahoo et al. 2024, arXiv:2406.07524"
MD4 = "Shi et al. 2024, arXiv:2406.04329"
FIRST_HITTING = "Zheng et al. 2024, arXiv:2409.02908"
INFORMATION = "Li and Cai 2025, arXiv:2505.21400"
ADJOINT = "Kan et al. 2026, arXiv:2605.17232"
IPM = "Müller 1997, Advances in Applied Probability 29"
#: Of what is nobody's in particular, or our own.
HERE = "ddm_pyro"


def _each(register: Register, spec: type[Spec], home: str, table: tuple[tuple[str, str, str, str], ...]) -> None:
    """Register (name, attribute of ``home``, summary, reference), for components that need say no more."""
    for name, attribute, summary, reference in table:
        register(spec(name, factory=f"{home}:{attribute}", summary=summary, reference=reference))


@hookimpl
def register_rates(register: Register) -> None:
    """Rate matrices of one token."""
    table = (
        (
            "uniform",
            "Uniform",
            "a token is replaced by a uniform one at rate 1",
            f"Hoogeboom et al. 2021, arXiv:2102.05379; {D3PM}",
        ),
        ("masked", "Masked", "every token turns into the mask at rate 1", D3PM),
        ("dense", "Dense", "any generator, given as a matrix", TAU_LEAPING),
        ("rank-one", "RankOne", "tokens are refreshed from any law at rate 1", "Vignac et al. 2022, arXiv:2209.14734"),
    )
    _each(register, RateSpec, "ddm_pyro.rates", table)


@hookimpl
def register_schedules(register: Register) -> None:
    """Noise schedules."""
    table = (
        ("linear", "Linear", "alpha = 1 - t", D3PM),
        ("log-linear", "LogLinear", "alpha = 1 - (1 - eps) t", SEDD),
        ("cosine", "Cosine", "alpha = 1 - cos(pi (1 - t) / 2)", MD4),
        ("geometric", "Geometric", "sigma = smin^(1-t) smax^t - smin", SEDD),
        ("constant", "Constant", "sigma = total t", TAU_LEAPING),
    )
    _each(register, ScheduleSpec, "ddm_pyro.schedules", table)


@hookimpl
def register_parameterizations(register: Register) -> None:
    """What a network's output means."""
    table = (
        ("x0", "X0", "logits of the clean token given x_t", D3PM),
        (
            "leave-one-out",
            "LeaveOneOut",
            "logits given the other tokens; the token's own evidence exact",
            RATIO_MATCHING,
        ),
        ("score", "Score", "log p_t(y) / p_t(x) for the jumps y", f"{CONCRETE_SCORE}; {SEDD}"),
        (
            "mask-predictor",
            "MaskPredictor",
            "masked tokens from revealed ones, time-free",
            f"Ou et al. 2024, arXiv:2406.03736; {FIRST_HITTING}",
        ),
        ("exact", "Exact", "the target's own posterior, computed", HERE),
    )
    _each(register, ParameterizationSpec, "ddm_pyro.parameterizations", table)


@hookimpl
def register_losses(register: Register) -> None:
    """Training losses."""
    table = (
        ("nelbo", "NELBO", "continuous-time bound on -log p(x_0)", f"{TAU_LEAPING}; {MDLM}; {MD4}"),
        ("score-entropy", "ScoreEntropy", "score entropy of the ratio score", SEDD),
        ("score-matching", "ScoreMatching", "squared error of the ratio score", CONCRETE_SCORE),
        (
            "generalized-kl",
            "GeneralizedKL",
            "generalised KL of mixture paths",
            "Gat et al. 2024, arXiv:2407.15595; Shaul et al. 2024, arXiv:2412.03487",
        ),
        ("discrete-nelbo", "DiscreteNELBO", "bound of a sampler's own N steps", D3PM),
        ("mask-size-weighted", "MaskSizeWeighted", "bound of k-unmask sampling", INFORMATION),
        ("ratio-matching", "RatioMatching", "each noised token from the others", RATIO_MATCHING),
        ("cross-entropy", "CrossEntropy", "-log p(x_0 | x_t), unweighted", "Chang et al. 2022, arXiv:2202.04200"),
    )
    _each(register, LossSpec, "ddm_pyro.losses", table)


@hookimpl
def register_samplers(register: Register) -> None:
    """Samplers of the reverse process."""
    home = "ddm_pyro.samplers"
    table = (
        ("ancestral", "Ancestral", "bridge averaged over the x0-posterior (Tweedie tau-leaping)", f"{D3PM}; {SEDD}"),
        ("euler", "Euler", "jump chain of I + h R, one jump a position", f"{RATIO_MATCHING}; {SEDD}"),
        ("tau-leaping", "TauLeaping", "Poisson jumps at held rates, one a position kept", TAU_LEAPING),
        (
            "gillespie",
            "Gillespie",
            "rates frozen in time, exact in the state",
            "Gillespie 1977, Journal of Physical Chemistry 81",
        ),
        (
            "uniformization",
            "Uniformization",
            "exact in time, events thinned from a bound",
            "Chen and Ying 2024, arXiv:2402.08095",
        ),
        (
            "gibbs-corrector",
            "GibbsCorrector",
            "one heat-bath update at fixed time",
            f"Geman and Geman 1984, IEEE Transactions on Pattern Analysis and Machine Intelligence 6; {TAU_LEAPING}",
        ),
    )
    _each(register, SamplerSpec, home, table)
    register(
        SamplerSpec(
            "first-hitting",
            factory=f"{home}:FirstHitting",
            summary="masks revealed one by one at their hitting times; exact but for the predictor",
            reference=FIRST_HITTING,
            capabilities={"masked"},
        )
    )
    register(
        SamplerSpec(
            "k-unmask",
            factory=f"{home}:KUnmask",
            summary="a given number of masks revealed a step",
            reference=INFORMATION,
            capabilities={"masked"},
        )
    )


@hookimpl
def register_targets(register: Register) -> None:
    """Laws and data sets to learn and to be judged on."""
    home = "ddm_pyro.targets"
    table = (
        ("tabular", "Tabular", "a law given by its pmf", HERE),
        ("random-tabular", "RandomTabular", "a random law on a small space", HERE),
        ("product", "Product", "independent positions", HERE),
        ("markov-chain", "MarkovChain", "a Markov chain, any length", HERE),
        (
            "potts-chain",
            "PottsChain",
            "the Potts model on a line or ring",
            "Potts 1952, Mathematical Proceedings of the Cambridge Philosophical Society 48",
        ),
        ("ising-grid", "IsingGrid", "the Ising model on a small grid", "Ising 1925, Zeitschrift für Physik 31"),
        (
            "digits",
            "Digits",
            "1797 real 8 x 8 images of handwritten digits, 17 grey levels",
            "UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
        ),
        ("motif", "Motif", "a DNA motif, an exact product law", "JASPAR 2024, CC BY 4.0"),
        (
            "text",
            "Text",
            "English of the Python manual, 27 symbols, windows",
            "pydoc_data.topics of the running Python, PSF licence",
        ),
    )
    _each(register, TargetSpec, home, table)
    register(
        TargetSpec(
            "file",
            factory=f"{home}:File",
            summary="your own data: a .npy, .csv, .tsv or .txt file",
            reference="the source of your own data",
            capabilities={"reads-path"},
        )
    )
    register(
        TargetSpec(
            "survey",
            factory=f"{home}:Survey",
            summary="6366 answers to eight ordinal questions",
            reference="Fair 1978, Journal of Political Economy 86, as statsmodels ships it",
            requires={"survey"},
        )
    )


@hookimpl
def register_metrics(register: Register) -> None:
    """Distances between laws, and statistics of them."""
    home = "ddm_pyro.metrics"
    table = (
        ("tv", "TotalVariation", "total variation, half the l1 distance", IPM),
        ("position-tv", "PositionTV", "total variation of one-token marginals", IPM),
        ("block-tv", "BlockTV", "total variation of n-grams or blocks", IPM),
        (
            "bounded-lipschitz",
            "BoundedLipschitz",
            "Fortet-Mourier: |f| <= 1 and Lipschitz for the Hamming distance",
            "Dudley 2002, Real Analysis and Probability",
        ),
        (
            "w1-hamming",
            "HammingWasserstein",
            "Wasserstein-1, Hamming distance",
            "Villani 2009, Optimal Transport: Old and New",
        ),
        (
            "mmd-hamming",
            "HammingMMD",
            "MMD with exp(-Hamming / bandwidth)",
            "Gretton et al. 2012, Journal of Machine Learning Research 13",
        ),
        (
            "kl",
            "KL",
            "KL(data || sampler), nats",
            "Kullback and Leibler 1951, Annals of Mathematical Statistics 22",
        ),
        (
            "nll",
            "NLL",
            "cross entropy of the data under the sampler, nats",
            "Shannon 1948, Bell System Technical Journal 27",
        ),
        ("unigram-entropy", "UnigramEntropy", "entropy of the pooled tokens", FIRST_HITTING),
    )
    _each(register, MetricSpec, home, table)
    register(
        MetricSpec(
            "duplicates",
            factory=f"{home}:Duplicates",
            version=2,
            summary="share of repeated sequences",
            reference=HERE,
        )
    )


@hookimpl
def register_bounds(register: Register) -> None:
    """Certificates on the scale of total variation."""
    home = "ddm_pyro.bounds"
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
        register(BoundSpec(name, factory=f"{home}:{factory}", summary=summary, reference=ADJOINT))
    for name, factory, summary, reference in (
        ("kernel-kl", "KernelKL", "KL of a sampler's own steps, score and discretization in one", ADJOINT),
        ("plan-kl", "PlanKL", "the same given the masked sampler's own plan", INFORMATION),
        ("discretization", "Discretization", "total variation that drawing masks at once adds", ADJOINT),
        ("li-cai", "LiCai", "Theorems 1 and 2 for blocks of fixed sizes, beside the exact KL", INFORMATION),
    ):
        register(BoundSpec(name, factory=f"{home}:{factory}", summary=summary, reference=reference))


@hookimpl
def register_renderers(register: Register) -> None:
    """Reports from rows."""
    table = (("html", "HtmlReport", "one self-contained page", HERE),)
    _each(register, RendererSpec, "ddm_pyro.report", table)
