"""Laws of token sequences as Pyro distributions."""

from ddm_pyro.distributions.categorical import FactorizedCategorical as FactorizedCategorical
from ddm_pyro.distributions.inverse_cdf import inverse_cdf as inverse_cdf
from ddm_pyro.distributions.jump import JumpLaw as JumpLaw
from ddm_pyro.distributions.lazy import LazyLaw as LazyLaw
from ddm_pyro.distributions.mixture import AtomMixture as AtomMixture
from ddm_pyro.distributions.samples import Samples as Samples
from ddm_pyro.distributions.sequence import SequenceLaw as SequenceLaw
from ddm_pyro.distributions.tabular import Tabular as Tabular
from ddm_pyro.distributions.token_law import TokenLaw as TokenLaw
