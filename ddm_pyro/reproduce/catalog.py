"""All experiments by name; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from ddm_pyro.plugins import did_you_mean
from ddm_pyro.reproduce.base import Experiment

#: Name -> module and class.
_CATALOG = {
    "potts-kl": "potts_kl:PottsKL",
    "potts-mutual-information": "potts_information:PottsInformation",
    "fewer-steps-than-tokens": "fewer_steps:FewerSteps",
    "unbalanced-schedules": "unbalanced:Unbalanced",
    "vocabulary-free": "vocabulary:VocabularyFree",
    "every-ipm": "every_ipm:EveryIPM",
    "score-stability": "score_stability:ScoreStability",
    "first-hitting-exact": "first_hitting:FirstHittingExact",
    "euler-rate": "euler_rate:EulerRate",
    "early-stopping": "early_stopping:EarlyStopping",
    "samplers-side-by-side": "side_by_side:SideBySide",
    "trained-networks": "trained:TrainedNetworks",
}


def names() -> list[str]:
    """The names, in the order of the documentation.

    Example:
        >>> names()[0]
        'potts-kl'
    """
    return list(_CATALOG)


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: an unknown name, with the closest known one.

    Example:
        >>> experiment("potts-kl").source
        'Li and Cai, arXiv 2505.21400, Theorem 1 and Corollary 1'
    """
    if name not in _CATALOG:
        raise ValueError(
            f"There is no experiment {name!r}.{did_you_mean(name, names())} See ddm-pyro reproduce --list."
        )
    module, _, attribute = _CATALOG[name].partition(":")
    made: Experiment = getattr(import_module(f"ddm_pyro.reproduce.{module}"), attribute)()
    return made
