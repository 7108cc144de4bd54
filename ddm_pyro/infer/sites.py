"""What a site of a Pyro trace says about the diffusion prior it came from, in its ``infer`` dictionary."""

from __future__ import annotations

#: Key on the site of the tokens: the DiffusionPrior they follow.
PRIOR = "ddm_prior"
#: Key on the site of a plan: the name of the site whose tokens it orders.
PLAN = "ddm_plan_of"
#: Key on the site of an intermediate state: the name of the site it leads to.
STATE = "ddm_state_of"
#: Key on the site of a forward kernel: the name of the site it noises.
KERNEL = "ddm_kernel_of"
