"""The exact posterior of an enumerable Pyro program, as a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ddm_pyro import distributions
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.from_pyro_sites import SiteTokens, masked_out, require_fixed_values, site_tokens
from ddm_pyro.targets.hidden_markov import HiddenMarkov
from ddm_pyro.targets.programs import Program
from ddm_pyro.targets.tabular import Tabular

#: Values the program is scored on at once.
AT_ONCE = 2**14
#: Most states of a program that is run on one state at a time without being asked to.
ONE_BY_ONE = 2**12
#: States on which a batched run is compared with single ones.
CHECKED = 5


class PyroTarget(Tabular):
    """The law of a program's latent sites given what it observes, one position a variable.

    Attributes:
        sites: name -> where its tokens are and what values they stand for.
        log_evidence: log P(observed), nats, a float.

    Raises:
        ValueError: observations of probability zero.
    """

    def __init__(self, log_joint: Tensor, space: StateSpace, sites: Mapping[str, SiteTokens]) -> None:
        log_evidence = log_joint.logsumexp(0)
        if not bool(log_evidence > -torch.inf):
            raise ValueError("What the program observes has probability zero, so there is no posterior.")
        self.sites, self.log_evidence = dict(sites), float(log_evidence)
        super().__init__(distributions.Tabular((log_joint - log_evidence).exp(), space=space))

    def decode(self, x: Tensor) -> dict[str, Tensor]:
        """Values of every site, (..., L) -> name -> (..., *batch, *event)."""
        x = self.space.check(x)
        return {name: site.decode(x[..., site.positions]) for name, site in self.sites.items()}

    def encode(self, values: Mapping[str, Tensor]) -> Tensor:
        """Tokens of values, name -> (..., *batch, *event) to (..., L).

        Raises:
            ValueError: a site that is missing, a value off its support.
        """
        missing = [name for name in self.sites if name not in values]
        if missing:
            raise ValueError(f"values has no {missing[0]!r}; the sites are {', '.join(self.sites)}.")
        return torch.cat([site.encode(values[name]) for name, site in self.sites.items()], -1)

    def __repr__(self) -> str:
        return f"PyroTarget({', '.join(self.sites)}; {self.space})"


def from_pyro(
    model: Callable[..., Any], *args: Any, at_once: int = AT_ONCE, **kwargs: Any
) -> PyroTarget | HiddenMarkov:
    """The exact law of the latent sites of ``model(*args, **kwargs)`` given its observed sites and factors.

    Sites may be Bernoulli, Categorical, OneHotCategorical, bounded counts or laws of this package, in plates and with
    ``to_event``. Each scalar variable is one position: sites in program order, then plates, then events. The joint
    density is listed, so pmf, conditionals and the denoiser of every process are exact. Variables that ``poutine.mask``
    or ``.mask()`` takes out of the density are uniform and add nothing to the evidence. A program that is one
    ``DiscreteHMM`` site with categorical observations, itself not observed, becomes a ``HiddenMarkov`` instead, at any
    length: a chain written with ``pyro.markov`` is listed like any other program.

    Args:
        model: a Pyro program, for speed one that broadcasts over a plate on its left.
        args, kwargs: its arguments.
        at_once: states scored in one run of the program; 1 for a program that branches on values. A small program
            that turns out not to broadcast is run on one state at a time by itself.

    Raises:
        ValueError: no latent site, a continuous or unbounded one, one whose values follow another's, a scaled one or
            one in a subsampled plate, more states than can be listed, sites that come and go, observations of
            probability zero.

    Example:
        >>> def model(y):
        ...     with pyro.plate("coins", 2):
        ...         heads = pyro.sample("heads", dist.Bernoulli(0.5))
        ...     pyro.sample("y", dist.Normal(heads.sum(-1), 1.0), obs=y)
        >>> import pyro
        >>> target = from_pyro(model, torch.tensor(2.0))
        >>> [round(p, 4) for p in target.pmf.tolist()], round(target.log_evidence, 4)
        ([0.0576, 0.2583, 0.2583, 0.4258], -1.4515)
        >>> target.decode(torch.tensor([0, 1]))["heads"].tolist()
        [0.0, 1.0]
    """
    program = Program(model, args, kwargs)
    latent = [name for name, node in program.sites.items() if not node["is_observed"]]
    if not latent:
        raise ValueError(
            "The model has no latent site; there is nothing to list. (A chain is one DiscreteHMM site without obs=.)"
        )
    chain = program.sites[latent[0]]["fn"]
    if len(program.sites) == 1 and isinstance(chain, dist.DiscreteHMM):
        return HiddenMarkov.of(chain)
    sites: dict[str, SiteTokens] = {}
    for name in latent:
        sites[name] = site_tokens(name, program.sites[name], sum(site.length for site in sites.values()))
    require_fixed_values(program, sites)
    program.require_scale_one(latent)
    program.require_plates(list(program.sites))
    sizes = [size for site in sites.values() for size in site.sizes]
    space = StateSpace(tuple(sizes), len(sizes))
    total = space.require_enumerable("from_pyro")
    with torch.no_grad():
        try:
            log_joint = _listed(program, sites, space, total, at_once)
        except (RuntimeError, ValueError, IndexError):
            if at_once == 1 or total > ONE_BY_ONE:
                raise
            log_joint = _listed(program, sites, space, total, 1)
    # A variable that no density counts is none: its values share the weight of one.
    hidden = torch.cat([masked_out(program.sites[name], site) for name, site in sites.items()])
    return PyroTarget(log_joint - (torch.tensor(sizes).double().log() * hidden).sum(), space, sites)


def _listed(program: Program, sites: Mapping[str, SiteTokens], space: StateSpace, total: int, at_once: int) -> Tensor:
    """The log joint density of every state, in index order."""
    if at_once > 1:
        some = space.unindex(torch.arange(0, total, max(1, total // CHECKED))[:CHECKED].flip(0))
        program.check_broadcast(_values(program, sites, some), list(program.sites), len(some))
        pieces = [torch.arange(low, min(low + at_once, total)) for low in range(0, total, at_once)]
        return torch.cat([_log_joint(program, sites, space.unindex(index)) for index in pieces])
    scores = []
    for state in space.enumerate():
        values = {name: site.decode(state[site.positions]) for name, site in sites.items()}
        alone = program.log_probs_alone(values, list(program.sites))
        scores.append(torch.stack([score.sum() for score in alone.values()]).sum())
    return torch.stack(scores)


def _values(program: Program, sites: Mapping[str, SiteTokens], states: Tensor) -> dict[str, Tensor]:
    return {
        name: site.decode(states[:, site.positions]).reshape(len(states), *program.padded(name), *site.event_shape)
        for name, site in sites.items()
    }


def _log_joint(program: Program, sites: Mapping[str, SiteTokens], states: Tensor) -> Tensor:
    values = _values(program, sites, states)
    total = torch.zeros(len(states), dtype=torch.float64, device=states.device)
    for score in program.log_probs(values, list(program.sites), len(states)).values():
        batch = (1,) * (program.nesting + 1 - score.dim()) + tuple(score.shape)
        total = total + score.reshape(batch[0], -1).sum(-1)
    return total
