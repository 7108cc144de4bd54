"""Certificates: what a theorem guarantees about the distance between a sampler's law and the data law."""

from ddm_pyro.bounds.adjoint_ipm import AdjointIPM as AdjointIPM
from ddm_pyro.bounds.base import Bound as Bound
from ddm_pyro.bounds.base import NotApplicable as NotApplicable
from ddm_pyro.bounds.base import Question as Question
from ddm_pyro.bounds.best import Best as Best
from ddm_pyro.bounds.certificate import Certificate as Certificate
from ddm_pyro.bounds.decomposition import Decomposition as Decomposition
from ddm_pyro.bounds.decomposition import decompose as decompose
from ddm_pyro.bounds.discrete import Discretization as Discretization
from ddm_pyro.bounds.discrete import Floored as Floored
from ddm_pyro.bounds.discrete import KernelKL as KernelKL
from ddm_pyro.bounds.discrete import LiCai as LiCai
from ddm_pyro.bounds.discrete import PlanKL as PlanKL
from ddm_pyro.bounds.kernel_tv import KernelTV as KernelTV
from ddm_pyro.bounds.path_kl import ConditionedPathKL as ConditionedPathKL
from ddm_pyro.bounds.path_kl import PathKL as PathKL
from ddm_pyro.bounds.rows import ExitRouting as ExitRouting
from ddm_pyro.bounds.rows import GeneralizedPinsker as GeneralizedPinsker
from ddm_pyro.bounds.rows import Local as Local
from ddm_pyro.bounds.rows import Row as Row
from ddm_pyro.bounds.step_plan import StepPlan as StepPlan
from ddm_pyro.bounds.step_plan import plan_steps as plan_steps
