"""Claim: sampling costs little more than the network's forward passes, and skips rows that nothing happens in.

Prints, from one process on one thread: the CPU time of a whole ``sample`` run over that of the forward passes alone
(a two-layer transformer of width 128), the time a step costs beside a network that costs nothing (and that time a
logit), and the network rows evaluated per sample of planned masked samplers.

    python benchmarks/sampler_overhead.py [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import ddm_pyro as ddm
from ddm_pyro import rates, samplers, schedules
from ddm_pyro.samplers.plans import Planned


class Transformer(nn.Module):
    """Two layers of width 128; the output head stands apart from the trunk."""

    def __init__(self, symbols: int, vocab: int, length: int, width: int = 128) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(symbols, width), nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(width, vocab)

    def trunk(self, x: Tensor, t: Tensor) -> Tensor:
        return self.body(self.embed(x) + self.place + t[:, None, None])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.head(self.trunk(x, t))


class Free(nn.Module):
    """Returns logits made beforehand: what a step costs beside the network."""

    def __init__(self, batch: int, length: int, vocab: int) -> None:
        super().__init__()
        self.logits = torch.randn(batch, length, vocab)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.logits[: len(x)]


class Counting(nn.Module):
    """Counts the rows it is asked for and draws nothing from them."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.vocab, self.rows, self.calls = vocab, 0, 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.rows, self.calls = self.rows + len(x), self.calls + 1
        return torch.zeros(*x.shape, self.vocab)


def cpu(run: Callable[[], object], repeats: int) -> float:
    """Median CPU time in seconds, after one run to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


@contextmanager
def every_position() -> Iterator[None]:
    """Plans without row skipping, as on a device other than the host."""
    made = Planned.of
    Planned.of = classmethod(  # type: ignore[method-assign, assignment]
        lambda cls, process, x, times, plan, clock=None: cls(
            torch.where(process.space.is_mask(x), plan, -1), None, clock
        )
    )
    try:
        yield
    finally:
        Planned.of = made  # type: ignore[method-assign]


def processes(vocab: int, length: int) -> dict[str, ddm.ForwardProcess]:
    return {
        "masked": ddm.ForwardProcess(rates.Masked(vocab), schedules.Linear(), length=length),
        "uniform": ddm.ForwardProcess(rates.Uniform(vocab), schedules.LogLinear(), length=length),
    }


def whole_runs(points: list[tuple[int, int, int, int]], repeats: int) -> None:
    print(f"{'CPU time of a run / of its N forward passes':60s} {'ratio':>7s} {'run ms':>9s} {'forward ms':>10s}")
    for vocab, length, batch, steps in points:
        for name, process in processes(vocab, length).items():
            network = Transformer(process.space.num_symbols, vocab, length).eval()
            x, t = torch.zeros(batch, length, dtype=torch.int64), torch.full((batch,), 0.5)

            def forwards(network: nn.Module = network, x: Tensor = x, t: Tensor = t, steps: int = steps) -> None:
                with torch.no_grad():
                    for _ in range(steps):
                        network(x, t)

            model = ddm.X0(network, process)
            for sampler in (samplers.Ancestral(), samplers.Euler()):
                options = {"steps": steps, "seed": 0}
                alone = cpu(forwards, repeats)
                ours = cpu(lambda m=model, s=sampler, b=batch, o=options: ddm.sample(s, m, b, **o), repeats)
                label = f"{name} {type(sampler).__name__} S={vocab} L={length} B={batch} N={steps}"
                print(f"{label:60s} {ours / alone:7.2f} {ours * 1e3:9.1f} {alone * 1e3:10.1f}")


def null_network(points: list[tuple[int, int, int, int]], repeats: int) -> None:
    print(f"\n{'a step beside a network that costs nothing':60s} {'ms':>7s} {'ns/logit':>9s}")
    for vocab, length, batch, steps in points:
        for name, process in processes(vocab, length).items():
            model = ddm.X0(Free(batch, length, vocab), process)
            for dense in (False, True) if name == "masked" else (False,):
                run = lambda m=model, b=batch, n=steps: ddm.sample(samplers.Ancestral(), m, b, steps=n, seed=0)  # noqa: E731
                if dense:
                    with every_position():
                        seconds = cpu(run, repeats) / steps
                else:
                    seconds = cpu(run, repeats) / steps
                label = f"{name}{' at fixed shapes' if dense else ''} S={vocab} L={length} B={batch} N={steps}"
                print(f"{label:60s} {seconds * 1e3:7.2f} {seconds * 1e9 / (vocab * length * batch):9.2f}")


def rows_evaluated(budgets: list[int], length: int, batch: int) -> None:
    print(f"\n{'network rows per sample, planned masked':60s} {'rows':>7s} {'calls':>9s}")
    process = ddm.ForwardProcess(rates.Masked(4), schedules.Linear(), length=length)
    for steps in budgets:
        counting = Counting(4)
        ddm.sample(samplers.Ancestral(), ddm.X0(counting, process), batch, steps=steps, seed=0)
        label = f"Ancestral L={length} B={batch} N={steps}"
        print(f"{label:60s} {counting.rows / batch:7.1f} {counting.calls:9d}")


def noise_and_push(states: list[int], vocab: int, length: int, batch: int, repeats: int) -> None:
    print(f"\n{'exact pieces':60s} {'ms':>9s} {'ns each':>9s}")
    for name, process in processes(vocab, length).items():
        x0 = torch.randint(0, vocab, (batch, length))
        t = torch.rand(batch)
        seconds = cpu(lambda p=process, x=x0, t=t: p.marginal(x, t, validate_args=False).sample(), repeats)
        label = f"noising, {name} S={vocab} L={length} B={batch} (a token)"
        print(f"{label:60s} {seconds * 1e3:9.2f} {seconds * 1e9 / (batch * length):9.1f}")
    for length_10 in states:
        pmf = torch.full((10**length_10,), 10.0**-length_10, dtype=torch.float64)
        for rate in (rates.Uniform(10), rates.Dense.from_rates(torch.rand(10, 10))):
            joint = rates.KroneckerSum([rate] * length_10)
            seconds = cpu(lambda j=joint, p=pmf: j.push(p, 0.7), repeats)
            label = f"push of 10^{length_10} states, {type(rate).__name__} (a state)"
            print(f"{label:60s} {seconds * 1e3:9.2f} {seconds * 1e9 / len(pmf):9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer points, fewer repeats")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    torch.manual_seed(0)
    repeats = 3 if quick else 7
    large = [(50257, 128, 1, 4)] if quick else [(50257, 128, 1, 4), (50257, 128, 4, 4), (50257, 128, 1, 16)]
    small = [(256, 128, 4, 8)] if quick else [(256, 128, 16, 32), (1024, 128, 1, 4), (1024, 128, 16, 32)]
    whole_runs(small + large, repeats)
    null_network(small + large, repeats)
    rows_evaluated([256] if quick else [256, 1024], 128, 64)
    noise_and_push([6] if quick else [6, 7], 50257, 128, 64, repeats)


if __name__ == "__main__":
    main()
