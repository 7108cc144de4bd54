"""Rate matrices of one token, and their sums over positions."""

from ddm_pyro.rates.base import RateMatrix as RateMatrix
from ddm_pyro.rates.dense import Dense as Dense
from ddm_pyro.rates.kronecker import KroneckerSum as KroneckerSum
from ddm_pyro.rates.rank_one import Masked as Masked
from ddm_pyro.rates.rank_one import RankOne as RankOne
from ddm_pyro.rates.rank_one import RankOneRate as RankOneRate
from ddm_pyro.rates.rank_one import Uniform as Uniform
