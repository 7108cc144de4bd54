"""A Pyro program run once for its structure, and then on many values of its latent sites at a time.

The values share one more plate, to the left of all plates of the program, so a program that broadcasts (as Pyro's own
vectorised inference asks of it) is evaluated in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from ddm_pyro.arrays import has_data

#: Name of the plate that the values of a batched run share.
PLATE = "_ddm_values"

#: How far a score may move, in absolute and relative terms, when other values are scored beside it.
SAME = 1e-4

Node = dict[str, Any]


class Program:
    """The sample sites of one run of ``model(*args, **kwargs)``, and the means to score other values of them.

    Attributes:
        sites: name -> trace node of the prototype run, in program order, without subsampling sites.
        nesting: M, the number of batch dimensions the program uses.

    Raises:
        TypeError: a model that is not callable.

    Example:
        >>> import pyro.distributions as dist
        >>> def model(y):
        ...     x = pyro.sample("x", dist.Bernoulli(0.5))
        ...     pyro.sample("y", dist.Normal(x, 1.0), obs=y)
        >>> program = Program(model, (torch.tensor(2.0),))
        >>> scores = program.log_probs({"x": torch.tensor([0.0, 1.0])}, ["y"], 2)
        >>> [round(score, 4) for score in scores["y"].tolist()]
        [-2.9189, -1.4189]
    """

    def __init__(
        self, model: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> None:
        if not callable(model):
            raise TypeError(f"model={model!r} must be a Pyro program: a callable with pyro.sample sites.")
        self.model, self.args, self.kwargs = model, tuple(args), dict(kwargs or {})
        nodes = self.rerun()
        self._subsamples = {n: node["value"] for n, node in nodes.items() if isinstance(node["fn"], _Subsample)}
        self.sites: dict[str, Node] = {n: node for n, node in nodes.items() if n not in self._subsamples}
        frames = [-frame.dim for node in self.sites.values() for frame in plates(node)]
        shapes = [len(node["fn"].batch_shape) for node in self.sites.values()]
        self.nesting = max([0, *frames, *shapes])

    def rerun(self) -> dict[str, Node]:
        """The sample sites of another run."""
        with torch.no_grad(), poutine.block():
            trace = poutine.trace(self.model).get_trace(*self.args, **self.kwargs)
        return {name: node for name, node in trace.nodes.items() if node["type"] == "sample"}

    def require_plates(self, names: Sequence[str]) -> None:
        """Raise ValueError when a batch dimension of a site is declared by no plate: nobody knows what it means."""
        for name in names:
            shape, declared = self.sites[name]["fn"].batch_shape, {frame.dim for frame in plates(self.sites[name])}
            loose = [d for d in range(-len(shape), 0) if shape[d] > 1 and d not in declared]
            if loose:
                raise ValueError(
                    f"Site {name!r} has batch shape {tuple(shape)}, but no plate declares dimension {loose[0]}; "
                    "put it in a pyro.plate, or call .to_event() if it is part of one value."
                )

    def require_scale_one(self, names: Sequence[str]) -> None:
        """Raise ValueError for a site whose density is raised to a power: it is drawn from another law then."""
        for name in names:
            scale = torch.as_tensor(self.sites[name]["scale"])
            if has_data(scale) and bool((scale != 1.0).any()):
                raise ValueError(
                    f"Site {name!r} is scaled by {scale.tolist()}, as a subsampled plate or poutine.scale does, so its "
                    "density is no law's; run the program on all data, or on part of it as the whole."
                )

    def padded(self, name: str) -> torch.Size:
        """Batch shape of a site with ones on the left, (d_M, ..., d_1)."""
        shape = self.sites[name]["fn"].batch_shape
        return torch.Size((1,) * (self.nesting - len(shape)) + tuple(shape))

    def log_probs(
        self,
        values: Mapping[str, Tensor],
        names: Sequence[str],
        count: int,
        fixed: Mapping[str, Any] | None = None,
    ) -> dict[str, Tensor]:
        """log-probabilities of the sites ``names`` when other sites take ``values``, each (count, d_M, ..., d_1).

        Args:
            values: name -> (count, d_M, ..., d_1, *event).
            names: sites to score; the others are only run.
            count: number of values.
            fixed: further sites and the values to give them, shared by all.

        Raises:
            NotBroadcast: a site whose score does not have the dimensions of its plates.
        """
        trace, wanted = self._run({**(fixed or {}), **values}, count), set(names)
        trace.compute_log_prob(site_filter=lambda name, site: name in wanted)
        return {name: self._whole(name, trace.nodes, count) for name in names}

    def draw(
        self, names: Sequence[str], values: Mapping[str, Tensor], count: int, fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Draws of the sites ``names`` when other sites take ``values``, each (count, d_M, ..., d_1, *event)."""
        nodes = self.nodes(values, count, fixed) if names else {}
        return {name: nodes[name]["value"] for name in names}

    def nodes(self, values: Mapping[str, Any], count: int, fixed: Mapping[str, Any] | None = None) -> dict[str, Node]:
        """Trace nodes of a run in which sites take ``values``, each (count, d_M, ..., d_1, *event)."""
        return dict(self._run({**(fixed or {}), **values}, count).nodes)

    def _run(self, values: Mapping[str, Any], count: int) -> Any:
        plate = pyro.plate(PLATE, count, dim=-1 - self.nesting)
        with poutine.block(), poutine.trace() as seen, _Given({**self._subsamples, **values}), plate:
            self.model(*self.args, **self.kwargs)
        return seen.trace

    def _whole(self, name: str, nodes: Mapping[str, Node], count: int) -> Tensor:
        self._require(name, nodes)
        score, node = nodes[name]["log_prob"], nodes[name]
        allowed = {frame.dim: frame.size for frame in plates(node)}
        wrong = [d for d in range(-score.dim(), 0) if score.shape[d] not in (1, allowed.get(d, 1))]
        if wrong or score.dim() > self.nesting + 1:
            raise NotBroadcast(name, f"its log-probability has shape {tuple(score.shape)} on {count} values at once")
        return score.to(torch.float64)

    def _require(self, name: str, nodes: Mapping[str, Node]) -> None:
        if name not in nodes:
            raise ValueError(f"Site {name!r} was there in the first run and is gone in the next; sites must be static.")
        unknown = [n for n, node in nodes.items() if node["type"] == "sample" and n not in self.sites]
        unknown = [n for n in unknown if n not in self._subsamples and n != PLATE]
        if unknown:
            raise ValueError(f"Site {unknown[0]!r} was not there in the first run; sites must be static.")

    def log_probs_alone(
        self, values: Mapping[str, Tensor], names: Sequence[str], fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """log-probabilities for one value of each site, (*batch, *event) or padded, from a run without more plates."""
        shaped = {}
        for name, value in values.items():
            law = self.sites[name]["fn"]
            shaped[name] = value.reshape(law.batch_shape + law.event_shape)
        with poutine.block(), poutine.trace() as seen, _Given({**self._subsamples, **(fixed or {}), **shaped}):
            self.model(*self.args, **self.kwargs)
        wanted = set(names)
        seen.trace.compute_log_prob(site_filter=lambda name, site: name in wanted)
        for name in names:
            self._require(name, seen.trace.nodes)
        return {name: seen.trace.nodes[name]["log_prob"].double() for name in names}

    def check_broadcast(
        self, values: Mapping[str, Tensor], names: Sequence[str], count: int, fixed: Mapping[str, Any] | None = None
    ) -> None:
        """Raise NotBroadcast unless the first and the last value have the same scores alone as among the others."""
        together = self.log_probs(values, names, count, fixed)
        for i in (0, count - 1):
            alone = self.log_probs_alone({n: value[i] for n, value in values.items()}, names, fixed)
            for name in names:
                score = together[name]
                own = score[min(i, len(score) - 1)] if score.dim() > self.nesting else score
                if own.numel() != alone[name].numel() or not _same(own.reshape(-1), alone[name].reshape(-1)):
                    raise NotBroadcast(name, "its log-probability for one value depends on the others")


class NotBroadcast(ValueError):
    """A program that mixes up the values it is given at once."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"Site {name!r} does not broadcast over a plate on the left: {what}. Reduce over the program's own "
            "dimensions only, from the right and with keepdim=True over plates, as under pyro.plate with enumeration."
        )


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(torch.isclose(a, b, rtol=SAME, atol=SAME, equal_nan=True).all())


class _Given(Messenger):
    """Gives sites their values without observing them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Node) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True


def plates(node: Node) -> list[Any]:
    """The vectorised plates a site lies in."""
    return [frame for frame in node["cond_indep_stack"] if frame.vectorized]
