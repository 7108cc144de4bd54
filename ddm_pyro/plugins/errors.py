"""The sentences of the plugin door: what went wrong, whose it is, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PluginError(ValueError):
    """A component or a plugin cannot be used; the message is one sentence that says why."""


class UnknownIdError(PluginError):
    """No provider has a component of this kind and id."""


class AmbiguousIdError(PluginError):
    """A short name has several providers; the message lists them."""


class BrokenPluginError(PluginError):
    """The id belongs to a plugin that is not active, or its factory cannot be imported."""


class ParameterError(PluginError):
    """A parameter is unknown to the component, or one it needs is missing."""


class NotApplicable(ValueError):
    """A component says that it does not apply here. Its rows become "skipped" with this sentence as the reason.

    The way for a plugin's component to refuse a combination; any other exception of a plugin is an error.

    Example:
        >>> raise NotApplicable("The ring needs at least three tokens, not 2.")
        Traceback (most recent call last):
        ddm_pyro.plugins.errors.NotApplicable: The ring needs at least three tokens, not 2.
    """


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest option, or nothing.

    Namespaced options are also compared by their last part, so that ``eulr`` finds ``core/euler``.

    Example:
        >>> did_you_mean("eulr", ["core/euler", "core/tau-leaping"])
        " Did you mean 'core/euler'?"
        >>> did_you_mean("zzz", ["core/euler"])
        ''
    """
    options = sorted(options)
    normal = word.lower().replace("_", "-")
    close = get_close_matches(normal, options, n=1)
    if not close:
        tails: dict[str, str] = {}
        for option in options:
            tails.setdefault(option.lower().replace("_", "-").rpartition("/")[2], option)
        close = [tails[tail] for tail in get_close_matches(normal.rpartition("/")[2], tails, n=1)]
    return f" Did you mean '{close[0]}'?" if close else ""


def listed(words: Iterable[str]) -> str:
    """Words separated by commas, ``none`` when there are none."""
    return ", ".join(words) or "none"


def stop(text: str) -> str:
    """The text with an end mark, one only.

    Example:
        >>> stop("It is off"), stop("Did you mean 'x'?")
        ('It is off.', "Did you mean 'x'?")
    """
    return text if text.endswith((".", "?", "!")) else f"{text}."


def quote_exception(exc: BaseException) -> str:
    """``Type: message`` on one line, whatever the exception's own ``__str__`` does.

    Example:
        >>> quote_exception(ValueError("two\\n   lines"))
        'ValueError: two lines'
    """
    try:
        message = " ".join(str(exc).split())
    except Exception as broken:
        message = f"(its message cannot be shown: {type(broken).__name__})"
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__
