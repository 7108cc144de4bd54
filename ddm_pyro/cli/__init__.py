"""The command line. Importing it imports click and nothing heavy; each command imports what it needs when it runs."""

from __future__ import annotations

import click

from ddm_pyro import __version__
from ddm_pyro.cli.compare import compare
from ddm_pyro.cli.evaluate import evaluate
from ddm_pyro.cli.group import Cli
from ddm_pyro.cli.options import common
from ddm_pyro.cli.plugins import plugins
from ddm_pyro.cli.report import report
from ddm_pyro.cli.reproduce import reproduce
from ddm_pyro.cli.sample import sample
from ddm_pyro.cli.train import train

__all__ = ["main"]


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ddm-pyro")
@common
def main() -> None:
    """Discrete diffusion models in Pyro: train, sample, and evaluate every sampler by every metric."""


for _command in (evaluate, report, compare, train, sample, reproduce, plugins):
    main.add_command(_command)
