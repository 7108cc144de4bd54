"""Discrete diffusion inside Pyro programs: priors, forward kernels beside a model, samplers as guides."""

from ddm_pyro.infer.sites import PLAN as PLAN
from ddm_pyro.infer.sites import PRIOR as PRIOR
