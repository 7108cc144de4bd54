"""Which laws tell their exact log-probability."""

from __future__ import annotations

from typing import Any

from ddm_pyro.distributions import Samples


def has_density(law: Any) -> bool:
    """Whether ``law.log_prob`` is the log-probability itself.

    Not so for Samples (a share of draws) and for a law whose ``density`` attribute says "bound", "pseudo" or "fixed".

    Example:
        >>> import torch
        >>> from ddm_pyro.distributions import Tabular
        >>> has_density(Tabular(torch.tensor([0.5, 0.5])))
        True
    """
    return hasattr(law, "log_prob") and not isinstance(law, Samples) and getattr(law, "density", "exact") == "exact"
