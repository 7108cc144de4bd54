"""Whole paths of a forward process as Pyro distributions: jump times, grids, bridges, panels with holes."""

from ddm_pyro.paths.bridge import BridgePath as BridgePath
from ddm_pyro.paths.ctmc import CTMCPath as CTMCPath
from ddm_pyro.paths.grid import GridPath as GridPath
from ddm_pyro.paths.panel import panel_log_prob as panel_log_prob
from ddm_pyro.paths.replay import num_jumps as num_jumps
from ddm_pyro.paths.replay import state_at as state_at
from ddm_pyro.paths.time_change import TimeChange as TimeChange
