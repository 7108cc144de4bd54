"""Laws to learn and to be judged on: distributions with a space, an entropy, a pmf and an exact denoiser."""

from ddm_pyro.targets.base import Target as Target
from ddm_pyro.targets.columns import Column as Column
from ddm_pyro.targets.data_set import DataSet as DataSet
from ddm_pyro.targets.digits import Digits as Digits
from ddm_pyro.targets.file import File as File
from ddm_pyro.targets.file import ReadingWarning as ReadingWarning
from ddm_pyro.targets.from_pyro import PyroTarget as PyroTarget
from ddm_pyro.targets.from_pyro import from_pyro as from_pyro
from ddm_pyro.targets.hidden_markov import HiddenMarkov as HiddenMarkov
from ddm_pyro.targets.ising_grid import IsingGrid as IsingGrid
from ddm_pyro.targets.markov_chain import MarkovChain as MarkovChain
from ddm_pyro.targets.motif import Motif as Motif
from ddm_pyro.targets.potts_chain import PottsChain as PottsChain
from ddm_pyro.targets.product import Product as Product
from ddm_pyro.targets.survey import Survey as Survey
from ddm_pyro.targets.tabular import RandomTabular as RandomTabular
from ddm_pyro.targets.tabular import Tabular as Tabular
from ddm_pyro.targets.tabular import random_tabular as random_tabular
from ddm_pyro.targets.text import Text as Text
