"""From rows to something to look at: one self-contained HTML page, and tables for a terminal."""

from __future__ import annotations

from ddm_pyro.report.citations import Citation as Citation
from ddm_pyro.report.citations import citations_of as citations_of
from ddm_pyro.report.comparison import Comparison as Comparison
from ddm_pyro.report.comparison import compare as compare
from ddm_pyro.report.page import HtmlReport as HtmlReport
from ddm_pyro.report.run import Run as Run
from ddm_pyro.report.run import load_run as load_run
from ddm_pyro.report.terminal import print_run as print_run

__all__ = ["Citation", "Comparison", "HtmlReport", "Run", "citations_of", "compare", "load_run", "print_run"]
