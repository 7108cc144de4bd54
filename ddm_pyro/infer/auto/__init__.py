"""Joint guides for discrete latents by discrete diffusion, and the same machinery for unnormalised densities."""

from ddm_pyro.infer.auto.beliefs import BeliefNet as BeliefNet
from ddm_pyro.infer.auto.density import DensitySampler as DensitySampler
from ddm_pyro.infer.auto.density import fit_density as fit_density
from ddm_pyro.infer.auto.elbo import ParticleELBO as ParticleELBO
from ddm_pyro.infer.auto.guide import AutoDiscreteDiffusion as AutoDiscreteDiffusion
from ddm_pyro.infer.auto.network import TokenMLP as TokenMLP
from ddm_pyro.infer.auto.sums import SumNet as SumNet
from ddm_pyro.infer.auto.weigh import weigh as weigh
