"""Run the tutorial in a scratch directory, keep its picture, print its table. No arguments."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import pages  # noqa: E402 (the runner of the tests)

if __name__ == "__main__":
    tutorial = ROOT / "docs" / "tutorials" / "first-report.md"
    with tempfile.TemporaryDirectory() as folder:
        pages.run(tutorial, Path(folder))
        shutil.copy(Path(folder) / "digits.png", tutorial.with_name("first-report-digits.png"))
        subprocess.run(["ddm-pyro", "report", "runs/first"], cwd=folder, check=True)
