"""Docstrings say ``Example:`` for their one runnable example; griffe reads code under ``Examples:`` only."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class RunnableExamples(Extension):
    """Rename the section, so that it is rendered as code rather than as prose."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
