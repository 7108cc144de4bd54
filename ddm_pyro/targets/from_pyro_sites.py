"""The values of a finite Pyro site as tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import Independent, OneHotCategorical, constraints

from ddm_pyro.distributions.token_law import TokenLaw
from ddm_pyro.targets.programs import Program

#: Runs of a program in which a site must have the same values.
TRIALS = 16


@dataclass(frozen=True, eq=False)
class SiteTokens:
    """Where a site's tokens are and what they stand for.

    Attributes:
        first: its first position.
        sizes: number of values of each of its variables.
        values: (K, *inner), the value of each token.
        outer_shape: batch and independent dimensions, one variable each.
        event_shape: of the site.
        batch_shape: of the site.
    """

    first: int
    sizes: tuple[int, ...]
    values: Tensor
    outer_shape: torch.Size
    batch_shape: torch.Size
    event_shape: torch.Size

    @property
    def length(self) -> int:
        """Number of variables."""
        return len(self.sizes)

    @property
    def positions(self) -> slice:
        """Its positions in the target."""
        return slice(self.first, self.first + self.length)

    def decode(self, tokens: Tensor) -> Tensor:
        """(..., variables) -> (..., *batch, *event)."""
        values = self.values.to(tokens.device)[tokens]
        return values.reshape(tokens.shape[:-1] + self.batch_shape + self.event_shape)

    def encode(self, value: Tensor) -> Tensor:
        """(..., *batch, *event) -> (..., variables). Raises ValueError for a value off the support."""
        inner = self.values.shape[1:]
        kept = value.dim() - len(self.outer_shape) - len(inner)
        flat = value.reshape(*value.shape[:kept], self.length, *inner)
        same = flat.unsqueeze(kept + 1) == self.values.to(flat)
        same = same.flatten(kept + 2).all(-1) if inner else same
        if not bool(same.any(-1).all()):
            raise ValueError(f"A value is none of the site's {len(self.values)}: {flat[~same.any(-1)][0].tolist()}.")
        return same.long().argmax(-1)


def site_tokens(name: str, node: Mapping[str, Any], first: int) -> SiteTokens:
    """Tokens of a latent site whose first position is ``first``.

    Raises:
        ValueError: a continuous site, an unbounded one, or one whose values differ between plate elements.
    """
    law, batch, event = node["fn"], node["fn"].batch_shape, node["fn"].event_shape
    while isinstance(law, (MaskedDistribution, ExpandedDistribution, Independent)):
        law = law.base_dist
    if isinstance(law, TokenLaw) and not law.space.is_countable:
        sizes = law.space.position_sizes * batch.numel()
        return SiteTokens(first, sizes, torch.arange(law.space.vocab_size), batch + event, batch, event)
    if not law.support.is_discrete:
        raise ValueError(
            f"Site {name!r} is continuous ({type(law).__name__}); from_pyro lists finite sites only: observe it, or "
            "condition on a value by pyro.poutine.condition."
        )
    if not law.has_enumerate_support:
        raise ValueError(f"Site {name!r} ({type(law).__name__}) has no finite list of values; bound it or observe it.")
    inner = law.event_shape if isinstance(law, OneHotCategorical) else torch.Size()
    try:
        listed = law.enumerate_support(expand=False)
    except NotImplementedError as error:
        raise ValueError(f"Site {name!r} has values that differ between plate elements: {error}.") from None
    if law.event_shape != inner:
        raise ValueError(f"Site {name!r} ({type(law).__name__}) has events of shape {tuple(law.event_shape)} unlisted.")
    outer = torch.Size((*batch, *event[: len(event) - len(inner)]))
    values = listed.reshape(len(listed), *inner)
    return SiteTokens(first, (len(values),) * math.prod(outer), values, outer, batch, event)


def require_fixed_values(program: Program, sites: Mapping[str, SiteTokens]) -> None:
    """Raise ValueError for a site whose values differ between ``TRIALS`` runs: they follow other sites."""
    moving = [name for name in sites if isinstance(getattr(_support(program.sites[name]), "upper_bound", None), Tensor)]
    for _ in range(TRIALS if moving and len(sites) > 1 else 0):
        nodes = program.rerun()
        for name in moving:
            again = site_tokens(name, nodes[name], sites[name].first)
            if again.sizes != sites[name].sizes or not torch.equal(again.values, sites[name].values):
                raise ValueError(
                    f"The values that site {name!r} can take change from run to run, so they follow other latent "
                    "sites; give it fixed ones, as a Categorical over 0 .. max whose probabilities follow them."
                )


def _support(node: Mapping[str, Any]) -> Any:
    support = node["fn"].support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def masked_out(node: Mapping[str, Any], site: SiteTokens) -> Tensor:
    """Which variables of a site no density counts, by ``poutine.mask`` or ``.mask()``: (variables,) bool."""
    law, right = node["fn"], len(site.outer_shape) - len(site.batch_shape)
    masks = [] if node["mask"] is None else [(node["mask"], right)]
    while isinstance(law, (MaskedDistribution, ExpandedDistribution, Independent)):
        if isinstance(law, MaskedDistribution):
            masks.append((law._mask, right))
        if isinstance(law, Independent):
            right -= law.reinterpreted_batch_ndims
        law = law.base_dist
    counted = torch.ones(site.outer_shape, dtype=torch.bool)
    for mask, inner in masks:
        mask = torch.as_tensor(mask)
        counted = counted & mask.reshape(mask.shape + (1,) * inner).to(counted.device)
    return ~counted.reshape(-1)
