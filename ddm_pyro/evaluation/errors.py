"""What goes wrong with plans, rows and cells, by name."""

from __future__ import annotations

from ddm_pyro.plugins.errors import NotApplicable as NotApplicable


class PlanError(ValueError):
    """A plan that cannot be run: one sentence that quotes the plan and says what would be right."""


class RowsError(ValueError):
    """A file of rows that cannot be read, named with its line."""


class Halt(BaseException):
    """Carries what a progress callback raised out of the stage that called it: the caller's business, no cell's."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


class CellTimeout(BaseException):
    """Raised inside a cell by the clock. Not an Exception, so that a component's ``except Exception`` lets it pass."""
