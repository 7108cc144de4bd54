"""Training with checkpoints that resume bit for bit, and models that load without unpickling code."""

from ddm_pyro.training.fit import FitResult as FitResult
from ddm_pyro.training.fit import fit as fit
from ddm_pyro.training.run import TrainingDiverged as TrainingDiverged
from ddm_pyro.training.store import load as load
from ddm_pyro.training.store import save as save
