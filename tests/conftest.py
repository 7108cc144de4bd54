"""One thread a test process: pytest-xdist brings the parallelism, and contending threads are far slower than none."""

import torch

torch.set_num_threads(1)
