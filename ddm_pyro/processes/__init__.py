"""Forward processes."""

from ddm_pyro.processes.base import Process as Process
from ddm_pyro.processes.forward import ForwardProcess as ForwardProcess
