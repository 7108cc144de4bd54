"""Certificates: what a theorem guarantees about the distance between a sampler's law and the data law."""

from ddm_pyro.bounds.base import Bound as Bound
from ddm_pyro.bounds.base import NotApplicable as NotApplicable
from ddm_pyro.bounds.certificate import Certificate as Certificate
from ddm_pyro.bounds.decomposition import Decomposition as Decomposition
from ddm_pyro.bounds.decomposition import decompose as decompose
