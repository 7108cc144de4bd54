"""Small networks; any other ``nn.Module`` (x, t) -> (..., L, width) serves a parameterization as well."""

from ddm_pyro.networks.base import Network as Network
from ddm_pyro.networks.hollow import HollowMLP as HollowMLP
from ddm_pyro.networks.hollow import HollowTransformer as HollowTransformer
from ddm_pyro.networks.mlp import MLP as MLP
from ddm_pyro.networks.transformer import Transformer as Transformer
