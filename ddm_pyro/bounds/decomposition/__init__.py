"""Where the error of a model or a sampler comes from, exactly, on spaces that can be listed."""

from ddm_pyro.bounds.decomposition.assemble import decompose as decompose
from ddm_pyro.bounds.decomposition.result import Decomposition as Decomposition
