"""Certificates of samplers that take finitely many steps, and of models that are only known through a network."""

from ddm_pyro.bounds.discrete.discretization import Discretization as Discretization
from ddm_pyro.bounds.discrete.discretization import discretization_error as discretization_error
from ddm_pyro.bounds.discrete.floor import Floored as Floored
from ddm_pyro.bounds.discrete.kernel_kl import KernelKL as KernelKL
from ddm_pyro.bounds.discrete.li_cai import LiCai as LiCai
from ddm_pyro.bounds.discrete.plan_kl import PlanKL as PlanKL
