"""Training losses: integrands over t ~ U(0, 1), unreduced, in nats."""

from ddm_pyro.losses.base import Loss as Loss
from ddm_pyro.losses.cross_entropy import CrossEntropy as CrossEntropy
from ddm_pyro.losses.discrete import DiscreteNELBO as DiscreteNELBO
from ddm_pyro.losses.generalized_kl import GeneralizedKL as GeneralizedKL
from ddm_pyro.losses.mask_size import MaskSizeWeighted as MaskSizeWeighted
from ddm_pyro.losses.nelbo import NELBO as NELBO
from ddm_pyro.losses.ratio_matching import RatioMatching as RatioMatching
from ddm_pyro.losses.score_entropy import ScoreEntropy as ScoreEntropy
from ddm_pyro.losses.score_matching import ScoreMatching as ScoreMatching
