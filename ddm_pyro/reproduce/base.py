"""What every experiment is: it measures rows of numbers; checks and pictures are functions of the rows alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from ddm_pyro.reproduce.checks import Check
    from ddm_pyro.reproduce.plots import Panel

T = TypeVar("T")

#: One line of an experiment's table: column -> number, word or None.
Row = dict[str, Any]


def _silent(done: int, total: int, label: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Work:
    """How an experiment is to be run, and whom to tell how far it is.

    Attributes:
        seed: of everything random.
        quick: a part of the rows only, in seconds; the same numbers where both have them, but for trained networks.
        tell: (done, total, what is being done).

    Example:
        >>> told = []
        >>> list(Work(tell=lambda *event: told.append(event)).track(["a", "b"], "letters")), told
        (['a', 'b'], [(0, 2, 'letters'), (1, 2, 'letters'), (2, 2, 'letters')])
    """

    seed: int = 0
    quick: bool = False
    tell: Callable[[int, int, str], None] = _silent

    def track(self, items: Sequence[T], label: str) -> Iterator[T]:
        """The items one by one, telling of each."""
        for done, item in enumerate(items):
            self.tell(done, len(items), label)
            yield item
        self.tell(len(items), len(items), label)


class Experiment(ABC):
    """A claim and the computation that supports or refutes it.

    Attributes:
        name: what ``ddm-pyro reproduce`` calls it.
        title: a heading.
        claim: what is claimed, in one or two sentences.
        source: whose claim it is.
        setup: what is computed, and how.
        keys: the columns that tell which row is which; the others are measured.
        uses_seed: whether ``seed`` changes anything.
        repeats: whether the quick form computes some of the same numbers.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    claim: ClassVar[str]
    source: ClassVar[str]
    setup: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ()
    uses_seed: ClassVar[bool] = False
    repeats: ClassVar[bool] = True

    @abstractmethod
    def measure(self, work: Work) -> list[Row]:
        """The numbers, by computation through the public API."""

    @abstractmethod
    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """What the rows say about the claim."""

    @abstractmethod
    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """The picture of the rows."""

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The rows (or columns of them) that are shown beside the figure; none by default."""
        return []


def select(rows: Sequence[Row], **fixed: Any) -> list[Row]:
    """The rows with these values.

    Example:
        >>> select([{"L": 8, "kl": 0.1}, {"L": 16, "kl": 0.2}], L=16)
        [{'L': 16, 'kl': 0.2}]
    """
    return [row for row in rows if all(row.get(name) == value for name, value in fixed.items())]


def columns(rows: Sequence[Mapping[str, Any]], *names: str) -> list[Row]:
    """These columns of the rows, in this order."""
    return [{name: row.get(name) for name in names} for row in rows]
