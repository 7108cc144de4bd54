"""Distributions that look installed: a folder on the path with modules and their dist-info."""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Site:
    """A site-packages of its own."""

    path: Path

    def install(
        self,
        dist: str,
        version: str = "1.0",
        *,
        entry_points: Mapping[str, str] | str | None = None,
        files: Mapping[str, str] | None = None,
        requires: Sequence[str] = (),
        direct_url: Mapping[str, object] | None = None,
    ) -> Path:
        """Write modules, METADATA, entry_points.txt and RECORD; returns the dist-info folder."""
        info = self.path / f"{dist.replace('-', '_')}-{version}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {dist}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        texts = {f"{info.name}/METADATA": "\n".join(lines) + "\n", **(files or {})}
        if isinstance(entry_points, str):
            texts[f"{info.name}/entry_points.txt"] = entry_points
        elif entry_points is not None:
            body = "\n".join(f"{name} = {value}" for name, value in entry_points.items())
            texts[f"{info.name}/entry_points.txt"] = f"[ddm_pyro]\n{body}\n"
        if direct_url is not None:
            texts[f"{info.name}/direct_url.json"] = json.dumps(direct_url)
        record = []
        for name, text in texts.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            # A file rewritten within a second at its old size would be served from its stale bytecode.
            Path(importlib.util.cache_from_source(str(target))).unlink(missing_ok=True)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(text.encode())}")
        (info / "RECORD").write_text("\n".join([*record, f"{info.name}/RECORD,,"]) + "\n")
        importlib.invalidate_caches()
        return info


@contextmanager
def site_on_path(path: Path) -> Iterator[Site]:
    """Put a new site first on the path; afterwards the path and the imported modules are as before."""
    path.mkdir(parents=True, exist_ok=True)
    before = set(sys.modules)
    sys.path.insert(0, str(path))
    try:
        yield Site(path)
    finally:
        sys.path.remove(str(path))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(path)):
                del sys.modules[name]
        importlib.invalidate_caches()
