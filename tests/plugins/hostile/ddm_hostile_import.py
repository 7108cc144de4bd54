"""Raises at import."""

raise RuntimeError("no licence\n   found")
