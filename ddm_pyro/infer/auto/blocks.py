"""A model's discrete sites as stretches of one token sequence, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.arrays import has_data
from ddm_pyro.distributions.token_law import InSpace

#: Runs of a model in which bounds that are tensors must be the same.
TRIALS = 16


@dataclass(frozen=True)
class Block:
    """One latent site as tokens: element e of its value is ``lower[e]`` plus a token, or a token one-hot.

    Attributes:
        name: of the site.
        frames: the plates it sits in.
        batch_shape, event_shape: of the site in the model; a one-hot site's last event dimension is its alphabet.
        one_hot: whether tokens are written one-hot.
        ordered: whether larger tokens mean larger values (not so for categories).
        lower: smallest value of each element, of the tokens' shape.
        sizes: number of values of each *active* element.
        active: flat indices of the elements that have a density in the model; None means all. The others (masked
            out, as where ``obs_mask`` says that the element was observed) carry no density and stay at ``lower``.
        dtype: of the values.
    """

    name: str
    frames: tuple[Any, ...]
    batch_shape: torch.Size
    event_shape: torch.Size
    one_hot: bool
    ordered: bool
    lower: Tensor
    sizes: tuple[int, ...]
    active: Tensor | None
    dtype: torch.dtype

    @property
    def event_dim(self) -> int:
        """Event dimensions of the site's value."""
        return len(self.event_shape)

    def value(self, tokens: Tensor) -> Tensor:
        """The site's value from its tokens: (*batch, n) -> broadcast of the batch and the site's own, and its event."""
        batch = tokens.shape[:-1]
        if self.active is not None:
            tokens = tokens.new_zeros((*batch, self.lower.numel())).index_copy(-1, self.active, tokens)
        event = self.event_shape[: self.event_dim - self.one_hot]
        # Particles lie to the left of the site's own plates, in dimensions where these have size 1.
        shape = torch.broadcast_shapes(batch, self.batch_shape)
        tokens = tokens.reshape(torch.Size((*shape, *event)))
        if self.one_hot:
            symbols = torch.arange(self.event_shape[-1], device=tokens.device)
            return (tokens.unsqueeze(-1) == symbols).to(self.dtype)
        return (tokens + self.lower).to(self.dtype)


def read_block(site: dict[str, Any]) -> Block:
    """The block of a latent site of a trace.

    Raises:
        ValueError: a continuous or unbounded site, one in a subsampled plate, or whose batch a plate does not explain.
    """
    name, fn, value = site["name"], site["fn"], site["value"]
    for frame in site["cond_indep_stack"]:
        if frame.full_size is not None and frame.full_size != frame.size:
            raise ValueError(
                f"Site '{name}' sits in plate '{frame.name}' that subsamples {frame.size} of {frame.full_size}; a "
                "joint guide couples all of a plate's elements, so give it the whole plate (no subsample_size)."
            )
    event_dim = fn.event_dim
    batch, event = value.shape[: value.dim() - event_dim], value.shape[value.dim() - event_dim :]
    lower, upper, one_hot = _bounds(name, fn, value)
    shape = torch.Size((*batch, *(event[:-1] if one_hot else event)))
    lower, upper = (torch.as_tensor(each, device=value.device).expand(shape) for each in (lower, upper))
    active = _active(site, shape, one_hot)
    sizes = (upper - lower + 1).long().flatten() if has_data(value) else _fake_sizes(name, fn, shape, one_hot)
    kept = sizes if active is None or not isinstance(sizes, Tensor) else sizes[active]
    return Block(
        name=name,
        frames=tuple(site["cond_indep_stack"]),
        batch_shape=batch,
        event_shape=event,
        one_hot=one_hot,
        ordered=not one_hot and not _is_categorical(fn),
        lower=lower.long().contiguous(),
        sizes=tuple(kept.tolist()) if isinstance(kept, Tensor) else kept,
        active=active,
        dtype=value.dtype,
    )


def refuse_sequential(trace: Any) -> None:
    """Raise ValueError naming a site of ``trace`` in a sequential plate, if there is one."""
    for name, site in trace.iter_stochastic_nodes():
        for frame in site["cond_indep_stack"]:
            if not frame.vectorized:
                raise ValueError(
                    f"Site '{name}' sits in the sequential plate '{frame.name}'; write the plate vectorised, "
                    f"with pyro.plate('{frame.name}', {frame.size}), or give the sites no plate."
                )


def refuse_moving_bounds(sites: Iterable[dict[str, Any]], run: Callable[[], Trace]) -> None:
    """Raise ValueError for a site whose bounds differ between ``TRIALS`` runs of the model: they follow others."""
    bounded = {site["name"]: _bounds(site["name"], site["fn"], site["value"]) for site in sites}
    read = {n: b for n, b in bounded.items() if any(isinstance(each, Tensor) and has_data(each) for each in b)}
    for _ in range(TRIALS if read else 0):
        nodes = run().nodes
        for name, bounds in read.items():
            again = _bounds(name, nodes[name]["fn"], nodes[name]["value"])
            if any(bool((torch.as_tensor(a) != torch.as_tensor(b)).any()) for a, b in zip(bounds, again, strict=True)):
                raise ValueError(
                    f"The bounds of site '{name}' change from run to run, so they follow other latent sites; give it "
                    "fixed ones, as a Categorical over 0 .. max whose probabilities follow them."
                )


def _bounds(name: str, fn: Any, value: Tensor) -> tuple[Any, Any, bool]:
    """Smallest and largest value of each element, and whether the site is one-hot."""
    support = fn.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(support, InSpace) and not support.space.is_countable:
        sizes = torch.tensor(support.space.position_sizes, device=value.device)
        return torch.zeros_like(sizes), sizes - 1, False
    if support is constraints.boolean:
        return 0, 1, False
    if support is constraints.one_hot:
        return 0, value.shape[-1] - 1, True
    if isinstance(support, type(constraints.integer_interval(0, 1))):
        return support.lower_bound, support.upper_bound, False
    if not getattr(support, "is_discrete", False):
        raise ValueError(
            f"Site '{name}' ~ {type(fn).__name__} is not discrete; give AutoDiscreteDiffusion the model with it "
            f"hidden, poutine.block(model, hide=['{name}']), and add a guide for it in an AutoGuideList."
        )
    raise ValueError(
        f"Site '{name}' ~ {type(fn).__name__} has support {support}; AutoDiscreteDiffusion needs finitely many values "
        "of each element, whatever the others are (Bernoulli, Categorical, OneHotCategorical, Binomial, ...); "
        "use such a site, for example a Categorical over 0 .. max."
    )


def _fake_sizes(name: str, fn: Any, shape: torch.Size, one_hot: bool) -> tuple[int, ...]:
    support = fn.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support is constraints.boolean:
        return (2,) * shape.numel()
    if one_hot:
        return (fn.event_shape[-1],) * shape.numel()
    if isinstance(support, InSpace):
        return support.space.position_sizes * (shape.numel() // support.space.length)
    if isinstance(getattr(support, "upper_bound", None), int) and isinstance(support.lower_bound, int):
        return (support.upper_bound - support.lower_bound + 1,) * shape.numel()
    raise ValueError(f"Site '{name}' has bounds that are tensors without data; its number of values cannot be read.")


def _active(site: dict[str, Any], shape: torch.Size, one_hot: bool) -> Tensor | None:
    """Indices of the elements that no mask removes, or None for all."""
    masks = [_over_tokens(site["mask"], site["fn"].event_dim - one_hot)] if site["mask"] is not None else []
    fn = site["fn"]
    while hasattr(fn, "base_dist"):
        if hasattr(fn, "_mask"):
            masks.append(_over_tokens(fn._mask, fn.event_dim - one_hot))
        fn = fn.base_dist
    kept = torch.ones(shape, dtype=torch.bool, device=site["value"].device)
    for mask in masks:
        kept = kept & torch.as_tensor(mask, device=kept.device)
    if not masks or not has_data(kept) or bool(kept.all()):
        return None
    return kept.expand(shape).flatten().nonzero().squeeze(-1)


def _over_tokens(mask: Any, dims: int) -> Any:
    return mask.reshape(*mask.shape, *(1,) * dims) if isinstance(mask, Tensor) else bool(mask)


def _is_categorical(fn: Any) -> bool:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, torch.distributions.Categorical) or hasattr(fn, "space")
