"""Claims of papers, recomputed: each experiment measures, draws and judges, and is one command away."""

from ddm_pyro.reproduce.base import Experiment as Experiment
from ddm_pyro.reproduce.base import Work as Work
from ddm_pyro.reproduce.catalog import experiment as experiment
from ddm_pyro.reproduce.catalog import names as names
from ddm_pyro.reproduce.checks import Check as Check
from ddm_pyro.reproduce.outcome import Outcome as Outcome
from ddm_pyro.reproduce.outcome import reproduce as reproduce
from ddm_pyro.reproduce.plots import Curve as Curve
from ddm_pyro.reproduce.plots import Panel as Panel
