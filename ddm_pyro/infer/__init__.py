"""Discrete diffusion inside Pyro programs: priors, forward kernels beside a model, samplers as guides."""

from ddm_pyro.infer.auto import AutoDiscreteDiffusion as AutoDiscreteDiffusion
from ddm_pyro.infer.auto import BeliefNet as BeliefNet
from ddm_pyro.infer.auto import DensitySampler as DensitySampler
from ddm_pyro.infer.auto import ParticleELBO as ParticleELBO
from ddm_pyro.infer.auto import SumNet as SumNet
from ddm_pyro.infer.auto import TokenMLP as TokenMLP
from ddm_pyro.infer.auto import fit_density as fit_density
from ddm_pyro.infer.auto import weigh as weigh
from ddm_pyro.infer.draws import ChainDraws as ChainDraws
from ddm_pyro.infer.draws import SMCDiagnostics as SMCDiagnostics
from ddm_pyro.infer.draws import WeightedPosterior as WeightedPosterior
from ddm_pyro.infer.forward_kernels import Noised as Noised
from ddm_pyro.infer.forward_kernels import noised as noised
from ddm_pyro.infer.gibbs import SplitGibbs as SplitGibbs
from ddm_pyro.infer.guidance import ClassifierFreeGuidance as ClassifierFreeGuidance
from ddm_pyro.infer.guidance_classifier import ClassifierGuidance as ClassifierGuidance
from ddm_pyro.infer.prior import DiffusionPrior as DiffusionPrior
from ddm_pyro.infer.reverse_guide import ReverseGuide as ReverseGuide
from ddm_pyro.infer.sample import diffusion_sample as diffusion_sample
from ddm_pyro.infer.sites import KERNEL as KERNEL
from ddm_pyro.infer.sites import PLAN as PLAN
from ddm_pyro.infer.sites import PRIOR as PRIOR
from ddm_pyro.infer.sites import STATE as STATE
from ddm_pyro.infer.timeless import TimeOfMasks as TimeOfMasks
from ddm_pyro.infer.twisted_smc import TwistedSMC as TwistedSMC
