"""Parameterizations of the reverse process."""

from ddm_pyro.parameterizations.base import Parameterization as Parameterization
from ddm_pyro.parameterizations.exact import Exact as Exact
from ddm_pyro.parameterizations.networks import X0 as X0
from ddm_pyro.parameterizations.networks import LeaveOneOut as LeaveOneOut
from ddm_pyro.parameterizations.networks import MaskPredictor as MaskPredictor
from ddm_pyro.parameterizations.networks import Score as Score
