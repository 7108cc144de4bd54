"""What surrounds a cell: a clock, and a sentence for whatever goes wrong."""

from __future__ import annotations

import hashlib
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ddm_pyro
from ddm_pyro.evaluation.errors import CellTimeout, NotApplicable
from ddm_pyro.evaluation.keys import Identity, is_core
from ddm_pyro.plugins import BrokenPluginError, PluginError, Registry

_HOME = str(Path(ddm_pyro.__file__).parent)


@dataclass(frozen=True)
class Failure:
    """Why a row has no value.

    Attributes:
        status: "skipped", "error" or "timeout".
        stage: "load", "model", "train", "sample", "metric" or "bound".
        reason: one sentence.
        error: type of the exception.
        traceback_hash: first digits of sha256 of the traceback; equal faults have equal hashes.
        plugin: the plugins whose components took part, when it is an error.
    """

    status: str
    stage: str
    reason: str
    error: str = ""
    traceback_hash: str = ""
    plugin: str = ""

    @property
    def is_final(self) -> bool:
        """Whether trying again is of no use: a combination that does not exist, not a missing installation."""
        return self.status == "skipped" and self.stage != "load"


class Stopped(Exception):
    """Carries a Failure out of a stage."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@contextmanager
def stage(
    name: str,
    involved: Iterable[Identity],
    registry: Registry,
    timeout: float | None = None,
    *,
    dry: bool = False,
    alone: bool = False,
) -> Iterator[None]:
    """Turn whatever a stage raises into ``Stopped``.

    A refusal is "skipped": ``NotApplicable``, or a ValueError or NotImplementedError raised by a line of the core
    itself while only core components take part. ``dry`` says that nothing has run yet, so that a refusal by the core
    stays one whoever takes part; ``alone``, that one component is built by itself, so that there is no combination to
    refuse. Everything else is an "error".
    """
    identities = tuple(involved)
    for one in identities:
        if one.problem:
            status = "skipped" if one.disabled else "error"
            blame = "" if one.disabled else one.id.rpartition("/")[0]
            raise Stopped(Failure(status, "load", one.problem, "BrokenPluginError", plugin=blame))
    try:
        with clock(timeout):
            yield
    except Stopped:
        raise
    except CellTimeout:
        blame = plugins_of(identities)
        reason = f"The {name} stage took longer than {timeout:g} seconds."
        raise Stopped(Failure("timeout", name, reason, "CellTimeout", plugin=blame)) from None
    except (Exception, SystemExit) as error:
        raise Stopped(explain(error, name, identities, registry, dry, alone)) from error


def explain(
    error: BaseException,
    name: str,
    involved: tuple[Identity, ...],
    registry: Registry,
    dry: bool = False,
    alone: bool = False,
) -> Failure:
    """The failure that an exception means."""
    kind = type(error).__name__
    if isinstance(error, BrokenPluginError):
        lacking = isinstance(error.__cause__, ImportError) and "It needs an extra" in str(error)
        return Failure("skipped" if lacking else "error", "load", sentence(error), kind, "", plugins_of(involved))
    refused = not alone and _raised_by_core(error) and (dry or all(map(is_core, involved)))
    if isinstance(error, NotApplicable) or refused:
        return Failure("skipped", name, sentence(error), kind)
    blame = plugins_of(involved)
    reason = f"{kind}: {sentence(error)}"
    if blame:
        makers = ", ".join(f"{one.id} of {one.dist or 'this process'}" for one in involved if not is_core(one))
        reason = f"{reason.rstrip('.')}. Plugin components at work: {makers}."
    return Failure("error", name, reason, kind, traceback_hash(error), blame)


def _raised_by_core(error: BaseException) -> bool:
    """Whether a sentence of the core refuses: a ValueError or NotImplementedError, no subclass, raised by its line."""
    if type(error) not in (ValueError, NotImplementedError) and not isinstance(error, PluginError):
        return False
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return bool(files) and files[-1].startswith(_HOME)


def plugins_of(involved: Iterable[Identity]) -> str:
    """Namespaces of the components that are not the core's, joined by commas."""
    return ", ".join(dict.fromkeys(one.id.rpartition("/")[0] for one in involved if not is_core(one)))


def sentence(error: BaseException) -> str:
    """The message on one line, or the type's name when there is none."""
    try:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception:
        return f"{type(error).__name__} (its message cannot be shown)"


def traceback_hash(error: BaseException) -> str:
    """Twelve hex digits of the functions the exception went through, and its type.

    Example:
        >>> try:
        ...     int("x")
        ... except ValueError as error:
        ...     len(traceback_hash(error))
        12
    """
    frames = [f"{Path(f.filename).name}:{f.name}" for f in traceback.extract_tb(error.__traceback__)]
    return hashlib.sha256("\n".join([*frames, type(error).__name__]).encode()).hexdigest()[:12]


@contextmanager
def clock(seconds: float | None) -> Iterator[None]:
    """Raise CellTimeout after so many seconds; without effect off the main thread, or where there is no such signal.

    A call that stays inside compiled code is stopped when it returns.
    """
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not usable:
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise CellTimeout

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
