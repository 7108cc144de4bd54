"""Metrics between laws of token sequences: exact on pmfs, honest limits on samples."""

from ddm_pyro.metrics.base import Estimate as Estimate
from ddm_pyro.metrics.base import Metric as Metric
from ddm_pyro.metrics.base import Witness as Witness
from ddm_pyro.metrics.blocks import BlockTV as BlockTV
from ddm_pyro.metrics.blocks import PositionTV as PositionTV
from ddm_pyro.metrics.hamming import hamming_histogram as hamming_histogram
from ddm_pyro.metrics.hamming_mmd import HammingMMD as HammingMMD
from ddm_pyro.metrics.ipm import IPM as IPM
from ddm_pyro.metrics.likelihood import KL as KL
from ddm_pyro.metrics.likelihood import NLL as NLL
from ddm_pyro.metrics.mmd import MMD as MMD
from ddm_pyro.metrics.mmd import KernelMMD as KernelMMD
from ddm_pyro.metrics.summaries import Duplicates as Duplicates
from ddm_pyro.metrics.summaries import UnigramEntropy as UnigramEntropy
from ddm_pyro.metrics.tv import TotalVariation as TotalVariation
from ddm_pyro.metrics.wasserstein import BoundedLipschitz as BoundedLipschitz
from ddm_pyro.metrics.wasserstein import HammingWasserstein as HammingWasserstein
