"""``sample`` draws sequences, ``push`` carries their exact law: one algorithm, two ways to run it."""

from ddm_pyro.sampling.exact import push as push
from ddm_pyro.sampling.loop import sample as sample
