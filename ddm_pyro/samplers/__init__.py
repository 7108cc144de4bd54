"""Samplers: laws of one reverse step. The loop over steps is ``ddm_pyro.sample`` and ``ddm_pyro.push``."""

from ddm_pyro.samplers.ancestral import Ancestral as Ancestral
from ddm_pyro.samplers.base import Sampler as Sampler
from ddm_pyro.samplers.blocks import FirstHitting as FirstHitting
from ddm_pyro.samplers.blocks import KUnmask as KUnmask
from ddm_pyro.samplers.euler import Euler as Euler
from ddm_pyro.samplers.gibbs import GibbsCorrector as GibbsCorrector
from ddm_pyro.samplers.gillespie import Gillespie as Gillespie
from ddm_pyro.samplers.tau_leaping import TauLeaping as TauLeaping
from ddm_pyro.samplers.uniformization import Uniformization as Uniformization
