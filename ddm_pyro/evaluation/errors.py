"""What goes wrong with plans, rows and cells, by name."""

from __future__ import annotations


class PlanError(ValueError):
    """A plan that cannot be run: one sentence that quotes the plan and says what would be right."""


class RowsError(ValueError):
    """A file of rows that cannot be read, named with its line."""


class NotApplicable(ValueError):
    """A component says that it does not apply here. Its rows become "skipped" with this sentence as the reason.

    The way for a plugin's component to refuse a combination; any other exception of a plugin is an error.

    Example:
        >>> raise NotApplicable("The ring needs at least three tokens, not 2.")
        Traceback (most recent call last):
        ddm_pyro.evaluation.errors.NotApplicable: The ring needs at least three tokens, not 2.
    """


class Halt(BaseException):
    """Carries what a progress callback raised out of the stage that called it: the caller's business, no cell's."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


class CellTimeout(BaseException):
    """Raised inside a cell by the clock. Not an Exception, so that a component's ``except Exception`` lets it pass."""
