"""The forward kernels beside a model, so that a guide may name the states of a reverse process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pyro
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ddm_pyro.infer.sites import KERNEL
from ddm_pyro.processes import Process


def noised(model: Callable[..., Any], site: str, forward: Process, times: Sequence[float] | Tensor) -> Noised:
    """Any Pyro model, with sites ``{site}@{k}`` ~ q(z_k | z_{k-1}) for k = 1 .. len(times), z_0 the value of ``site``.

    The kernels sum to one, so the model's posterior and evidence stay as they are; but a guide that draws the noised
    states z_K, ..., z_1 before ``site`` (``ReverseGuide``) now has a partner for each of them. Without them Pyro would
    score E[log p(x) - log q(x, z)], which is no bound on the evidence for discrete z.

    Args:
        model: a Pyro model.
        site: a site of event shape (L,) holding tokens; it may stand in plates, which the new sites share.
        forward: the forward process, on sequences of L tokens.
        times: increasing times in (0, 1], the time of z_k being ``times[k - 1]``.

    Raises:
        ValueError: bad times; when run, a model without the site, or a site of another shape.

    Example:
        >>> import torch, ddm_pyro as ddm, pyro.distributions as dist, pyro.poutine as poutine
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3)
        >>> def model():
        ...     return pyro.sample("x", dist.Categorical(torch.ones(3, 2)).to_event(1))
        >>> trace = poutine.trace(noised(model, "x", forward, [0.5, 1.0])).get_trace()
        >>> list(trace.stochastic_nodes), trace.nodes["x@2"]["value"].tolist()
        (['x', 'x@1', 'x@2'], [2, 2, 2])
    """
    return Noised(model, site, forward, times)


class Noised(nn.Module):
    """What ``noised`` returns: the model (a submodule, if it is a module) and the kernels it adds.

    Attributes:
        site, process, times: as given to ``noised``; ``times`` as a tuple.
    """

    def __init__(self, model: Callable[..., Any], site: str, forward: Process, times: Sequence[float] | Tensor) -> None:
        super().__init__()
        if not isinstance(forward, Process):
            raise TypeError(f"forward={forward!r} must be a Process, such as ForwardProcess(rate, schedule, length).")
        self.model, self.site, self.process = model, site, forward
        self.times = tuple(float(time) for time in times)
        grid = (0.0, *self.times)
        if len(grid) < 2 or grid[-1] > 1.0 or not all(s < t for s, t in pairwise(grid)):
            raise ValueError(
                f"times={list(self.times)} must increase strictly within (0, 1]; t = 0 is data, t = 1 noise."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The added sites, from data to noise."""
        return tuple(f"{self.site}@{k}" for k in range(1, len(self.times) + 1))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model with the kernels. Raises ValueError when it has no such site."""
        adding = _AddKernels(self)
        with adding:
            result = self.model(*args, **kwargs)
        if not adding.found:
            raise ValueError(f"The model has no site {self.site!r} to be noised; its sites are {adding.seen}.")
        return result

    def emit(self, x: Tensor) -> None:
        """The kernels from the value of the site, in the plates around."""
        x = self._tokens(x)
        for name, (s, t) in zip(self.names, pairwise((0.0, *self.times)), strict=True):
            x = pyro.sample(name, self.process.transition(x, s, t), infer={KERNEL: self.site})

    def _tokens(self, x: Tensor) -> Tensor:
        length = self.process.space.length
        if x.dim() == 0 or x.shape[-1] != length:
            raise ValueError(
                f"Site {self.site!r} has values of shape {tuple(x.shape)}; the process noises sequences of {length} "
                "tokens, the last dimension."
            )
        return self.process.space.data.check(x, f"Site {self.site!r}")


class _AddKernels(Messenger):
    """Adds the kernels once the site has its value, while its plates are still open."""

    def __init__(self, noised: Noised) -> None:
        super().__init__()
        self.noised, self.found, self.seen = noised, False, list[str]()

    def _pyro_sample(self, msg: Any) -> None:
        name, event_shape = msg["name"], tuple(getattr(msg["fn"], "event_shape", ()))
        self.seen.append(name)
        if name != self.noised.site:
            return
        length = self.noised.process.space.length
        if event_shape != (length,):
            raise ValueError(
                f"Site {name!r} has event shape {event_shape}; the process noises sequences of shape ({length},). "
                "Make the positions one event, for example with .to_event(1) instead of a plate."
            )
        self.found = True
        before = msg["continuation"]

        def then(message: Any) -> None:
            if before is not None:
                before(message)
            self.noised.emit(message["value"])

        msg["continuation"] = then
