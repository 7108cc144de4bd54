"""What is to be evaluated, as frozen data that reads from and writes to plain tables."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from ddm_pyro.evaluation.errors import PlanError
from ddm_pyro.evaluation.parsing import check_keys, each, mapping, number, text, whole


@dataclass(frozen=True)
class Ref:
    """A component by id, with its parameters.

    Example:
        >>> Ref.read({"id": "core/first-hitting", "refresh": 4}, "samplers")
        Ref(id='core/first-hitting', params={'refresh': 4})
        >>> Ref("core/euler").plain
        'core/euler'
    """

    id: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, value: Any, what: str) -> Ref:
        """From "core/euler" or { id = "core/euler", negative = "raise" }.

        Raises:
            PlanError: anything else.
        """
        if isinstance(value, Ref):
            return value
        if isinstance(value, Mapping):
            table = mapping(value, what)
            if "id" not in table:
                raise PlanError(f'{what} = {value!r} names no component; add id = "namespace/name".')
            return cls(text(table.pop("id"), f"{what}.id"), table)
        if not isinstance(value, str):
            raise PlanError(f'{what} = {value!r} must be an id like "core/name", or {{ id = "core/name", ... }}.')
        return cls(text(value, what))

    @property
    def plain(self) -> Any:
        """What ``read`` read."""
        return {"id": self.id, **self.params} if self.params else self.id


def _sampler(value: Any, what: str) -> tuple[Ref, ...]:
    """One sampler, or a list: a predictor and its correctors."""
    return each(value, Ref.read, what)


@dataclass(frozen=True)
class Experiment:
    """A product of components: every combination of the lists is one line of cells.

    In a plan file the first five keys are singular (``target``, ``rate``, ...) and take one component or a list.

    Attributes:
        targets, rates, schedules, parameterizations: what is learned, how it is noised, what is learned of it.
        losses: for parameterizations with a network; those made from the target need none.
        network: ``kind`` and its parameters.
        train: ``steps, batch_size, lr`` and further arguments of ``ddm_pyro.fit``.
        samplers: each a tuple, a predictor and its correctors.
        steps: step budgets; a sampler that fixes its number of steps takes one cell whatever they are.
        metrics, bounds: what is measured.
        samples: sequences a cell, when the law is not computed exactly.
        name: a label for reports; it is no part of any key.
    """

    targets: tuple[Ref, ...]
    rates: tuple[Ref, ...]
    schedules: tuple[Ref, ...]
    parameterizations: tuple[Ref, ...]
    samplers: tuple[tuple[Ref, ...], ...]
    metrics: tuple[Ref, ...]
    losses: tuple[Ref, ...] = ()
    network: Mapping[str, Any] | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    bounds: tuple[Ref, ...] = ()
    samples: int = 2000
    name: str = ""

    @classmethod
    def read(cls, table: Mapping[str, Any], where: str, defaults: Mapping[str, Any]) -> Experiment:
        """From a table of a plan file; ``defaults`` are the plan's own samples, steps, metrics and bounds.

        Raises:
            PlanError: an unknown or missing key, or a value of the wrong kind.
        """
        check_keys(table, EXPERIMENT_KEYS, where)
        values = {**defaults, **table}
        for key in REQUIRED:
            if key not in values:
                raise PlanError(f"{where} needs the key {key!r}; it has {', '.join(values)}.")
        refs = {key: each(values[key], Ref.read, f"{where}: {key}") for key in SINGULAR if key in values}
        return cls(
            **{SINGULAR[key]: value for key, value in refs.items()},
            samplers=each(values["samplers"], _sampler, f"{where}: samplers"),
            metrics=each(values["metrics"], Ref.read, f"{where}: metrics"),
            bounds=tuple(Ref.read(one, f"{where}: bounds") for one in values.get("bounds", ())),
            network=mapping(values["network"], f"{where}: network") if "network" in values else None,
            train=mapping(values.get("train", {}), f"{where}: train"),
            steps=tuple(whole(one, f"{where}: steps", 1) for one in _listed(values.get("steps", ()))),
            samples=whole(values["samples"], f"{where}: samples", 1),
            name=text(values["name"], f"{where}: name") if "name" in values else "",
        )

    @property
    def plain(self) -> dict[str, Any]:
        """A table that ``read`` reads back."""
        table: dict[str, Any] = {"name": self.name} if self.name else {}
        for key, attribute in SINGULAR.items():
            if refs := getattr(self, attribute):
                table[key] = [ref.plain for ref in refs]
        if self.network is not None:
            table["network"] = dict(self.network)
        if self.train:
            table["train"] = dict(self.train)
        table["samplers"] = [[ref.plain for ref in one] if len(one) > 1 else one[0].plain for one in self.samplers]
        table["steps"] = list(self.steps)
        table["metrics"] = [ref.plain for ref in self.metrics]
        table["bounds"] = [ref.plain for ref in self.bounds]
        table["samples"] = self.samples
        return table


#: key of a plan file -> attribute of ``Experiment``
SINGULAR = {
    "target": "targets",
    "rate": "rates",
    "schedule": "schedules",
    "parameterization": "parameterizations",
    "loss": "losses",
}
REQUIRED = ("target", "rate", "schedule", "parameterization", "samplers", "metrics")
EXPERIMENT_KEYS = ("name", *SINGULAR, "network", "train", "samplers", "steps", "metrics", "bounds", "samples")


@dataclass(frozen=True)
class Plan:
    """Experiments with one seed and one confidence level.

    Attributes:
        experiments: what to run.
        name: a label.
        seed: every other seed is derived from it.
        confidence: level of the limits on each value.
        repetitions: how many times everything is trained and sampled, with different seeds.
        timeout: seconds a sampling run or a metric may take (training: ten times as many); None for no limit.
        disable: plugins that are not to be loaded.

    Raises:
        PlanError: from ``load`` and ``from_dict``, one sentence, before anything runs.

    Example:
        >>> plan = Plan.from_dict({
        ...     "experiments": [{
        ...         "target": {"id": "core/potts-chain", "num_states": 2, "length": 3, "coupling": 1.0},
        ...         "rate": "core/masked", "schedule": "core/linear", "parameterization": "core/exact",
        ...         "samplers": ["core/ancestral"], "steps": [2, 4], "metrics": ["core/tv"],
        ...     }]
        ... })
        >>> plan.experiments[0].steps, Plan.from_dict(plan.to_dict()) == plan
        ((2, 4), True)
    """

    experiments: tuple[Experiment, ...]
    name: str = "plan"
    seed: int = 0
    confidence: float = 0.95
    repetitions: int = 1
    timeout: float | None = None
    disable: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a TOML file.

        Raises:
            PlanError: the file cannot be read, is no TOML, or is no plan.
        """
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanError(f"The plan {str(path)!r} cannot be read: {error.strerror or error}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PlanError(f"The plan {str(path)!r} is no TOML file: {error}.") from None
        return cls.from_dict({"name": Path(path).stem, **table})

    @classmethod
    def default(cls) -> Plan:
        """The plan that ``ddm-pyro evaluate`` runs without arguments."""
        source = files("ddm_pyro").joinpath("data/plans/default.toml")
        return cls.from_dict(tomllib.loads(source.read_text(encoding="utf-8")))

    @classmethod
    def for_target(cls, target: Ref, length: int, name: str) -> Plan:
        """The plan of ``ddm-pyro evaluate --target``: a masked model trained on it, and a few samplers.

        Args:
            target: what to learn, whose sequences have this ``length``; step budgets beyond it are cut to it.
            name: of the plan.
        """
        source = files("ddm_pyro").joinpath("data/plans/target.toml")
        table = tomllib.loads(source.read_text(encoding="utf-8"))
        for one in table["experiments"]:
            steps = list(dict.fromkeys(min(steps, length) for steps in one["steps"]))
            one.update(target=target, steps=steps)
        return cls.from_dict({**table, "name": name})

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Plan:
        """From the tables of a plan file."""
        if not isinstance(table, Mapping):
            raise PlanError(f"A plan is a table, not {table!r}.")
        check_keys(table, PLAN_KEYS, "The plan")
        experiments = table.get("experiments")
        if not isinstance(experiments, list | tuple) or not experiments:
            raise PlanError("The plan has no experiments; add at least one table [[experiments]].")
        defaults = {"samples": table.get("samples", 2000)}
        defaults |= {key: table[key] for key in ("steps", "metrics", "bounds") if key in table}
        read = []
        for k, one in enumerate(experiments):
            if not isinstance(one, Mapping):
                raise PlanError(f"experiments[{k}] = {one!r} must be a table [[experiments]].")
            read.append(Experiment.read(one, f"experiments[{k}]", defaults))
        timeout = table.get("timeout")
        return cls(
            tuple(read),
            name=text(table.get("name", "plan"), "name"),
            seed=whole(table.get("seed", 0), "seed"),
            confidence=number(table.get("confidence", 0.95), "confidence", 0.0, 1.0),
            repetitions=whole(table.get("repetitions", 1), "repetitions", 1),
            timeout=None if timeout is None else number(timeout, "timeout", 0.0),
            disable=tuple(text(one, "disable") for one in _listed(table.get("disable", ()))),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain tables that ``from_dict`` reads back to an equal plan."""
        table = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "experiments"}
        table = {key: value for key, value in table.items() if value is not None}
        return {**table, "disable": list(self.disable), "experiments": [one.plain for one in self.experiments]}


PLAN_KEYS = (
    *("name", "seed", "samples", "confidence", "repetitions", "timeout", "disable"),
    *("steps", "metrics", "bounds", "experiments"),
)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
