"""How the error of Euler steps falls with their number and grows with the dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ddm_pyro.bounds import KernelKL
from ddm_pyro.metrics import KL, TotalVariation
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_most, digits, slope
from ddm_pyro.reproduce.masked import forward
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.reproduce.worlds import all_equal, even_parity, hash_law, paired_copies
from ddm_pyro.samplers import Ancestral, Euler, Sampler, TauLeaping
from ddm_pyro.sampling import push
from ddm_pyro.schedules import Constant, Linear, NoiseSchedule
from ddm_pyro.targets import PottsChain

PAPER = "arXiv 2602.22505"
REFERENCE = "reference by enumeration"
STEPS = (4, 8, 16, 32, 64, 128, 256)
SCHEDULES: dict[str, NoiseSchedule] = {"linear": Linear(), "constant 8": Constant(8.0)}
SAMPLERS: dict[str, Sampler] = {
    "ancestral": Ancestral(),
    "euler": Euler(),
    "tau": TauLeaping(),
    "reject": TauLeaping(multi_jump="reject"),
}
#: TV for N = 4, 8, .., 256 on the hash law S = 3, L = 4.
TV = {
    ("linear", "ancestral"): ".0674864 .0350563 .0178525 .00900681 .00452349 .00226676 .00113463",
    ("linear", "euler"): ".0674864 .0350563 .0178525 .00900681 .00452349 .00226676 .00113463",
    ("linear", "tau"): ".0531312 .0307877 .0166818 .00869948 .00444466 .00224679 .00112960",
    ("linear", "reject"): ".0605238 .0330468 .0172866 .00885254 .00448268 .00225620 .00113194",
    ("constant 8", "ancestral"): ".188162 .142227 .0858071 .0461326 .0237600 .0120379 .00605585",
    ("constant 8", "euler"): ".150064 .0942776 .0722187 .0462810 .0246801 .0124006 .00616317",
    ("constant 8", "tau"): ".158431 .104535 .0653570 .0386531 .0214576 .0113888 .00588258",
}
KL_LINEAR = ".0163417 .00487293 .00135491 3.59921e-4 9.29931e-5 2.36529e-5 5.96574e-6"
#: N TV at d = 8, N = 512.
SCALED = {"all equal": "2.000", "parity": "1.995", "pairs": "1.997"}
#: Reveal-time parts of the path KL, Potts K = 4, L = 32, N = 64, linear; and the shared discretization part.
REVEAL = {"euler": "0", "tau": "0.280107", "reject": "0.692069"}
LAWS = {"all equal": all_equal, "parity": even_parity, "pairs": paired_copies}


class EulerRate(Experiment):
    """First order in the step, linear in the dimension."""

    name = "euler-rate"
    title = "Euler's rate in steps and dimension"
    claim = (
        "TV of the Euler sampler falls as 1/N, and there are data for which it is at least of order d/N: the rate is "
        "tight in the dimension and in the accuracy, with no surrogate initialization."
    )
    source = "Sharp Convergence Rates for Masked Diffusion Models, arXiv 2602.22505, upper and lower bound for Euler"
    setup = (
        "Exact predictor, masked process, start from all masks. Output laws by `ddm.push` on an asymmetric law "
        "(S = 3, L = 4), linear schedule and constant rate 8, N = 4 to 256; and on d bits that are all equal, of even "
        "parity, or written twice, where N·TV → d/4. Path KL by `KernelKL`."
    )
    keys = ("what", "law", "schedule", "sampler", "N", "d")

    def measure(self, work: Work) -> list[Row]:
        """TV and KL by N; N TV by d; path KL."""
        target = hash_law()
        rows: list[Row] = []
        data = target.tabular()
        cases = [(s, name, n) for s in SCHEDULES for name in SAMPLERS for n in (STEPS[:4] if work.quick else STEPS)]
        for schedule, name, steps in work.track(cases, "output laws"):
            law = push(SAMPLERS[name], target.denoiser(forward(target, SCHEDULES[schedule])), steps=steps)
            row: Row = {"what": "steps", "law": "hash S=3 L=4", "schedule": schedule, "sampler": name, "N": steps}
            rows.append({**row, "tv": TotalVariation()(law, data).value, "kl": KL()(law, data).value})
        return rows + self._dimension(work) + self._paths(work)

    def _dimension(self, work: Work) -> list[Row]:
        small = [(name, d, 64) for name in LAWS for d in (2, 4)]
        large = [(name, d, 512) for name in LAWS for d in (2, 4, 6, 8)]
        rows = []
        for name, d, steps in work.track(small if work.quick else small + large, "dimensions"):
            target = LAWS[name](d)
            model = target.denoiser(forward(target))
            tv = TotalVariation()(push(Euler(), model, steps=steps), target.tabular()).value
            found = KernelKL()(target=target, model=model, sampler=Euler(), steps=steps)
            row: Row = {"what": "dimension", "law": name, "schedule": "linear", "sampler": "euler", "N": steps, "d": d}
            scaled = {"scaled_tv": steps * tv, "limit": d / 4, "scaled_kl": steps * found.terms["kl"]}
            rows.append({**row, "tv": tv, **scaled, "kl_limit": d * math.log(2) / 2})
        return rows

    def _paths(self, work: Work) -> list[Row]:
        target = PottsChain(num_states=4, length=32, coupling=1.0)
        rows = []
        for schedule, name in work.track([(s, n) for s in SCHEDULES for n in SAMPLERS], "path KL"):
            model: Any = target.denoiser(forward(target, SCHEDULES[schedule]))
            terms = KernelKL()(target=target, model=model, sampler=SAMPLERS[name], steps=64).terms
            row = {"what": "path", "law": "Potts K=4 L=32", "schedule": schedule, "sampler": name, "N": 64, "d": 32}
            rows.append({**row, "kl": terms["discretization"], "reveal_times": terms["reveal_times"]})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Slopes, d/(4N), the printed digits."""
        at = {(row["schedule"], row["sampler"], row["N"]): row for row in select(rows, what="steps")}
        steps = [n for n in STEPS if ("linear", "euler", n) in at]
        last = steps[-3:]
        pairs = [(at[s, name, n]["tv"], word) for (s, name), words in TV.items() for n, word in _by_steps(words, steps)]
        pairs += [(at["linear", "ancestral", n]["kl"], word) for n, word in _by_steps(KL_LINEAR, steps)]
        tv, kl = ([at["linear", "euler", n][key] for n in last] for key in ("tv", "kl"))
        wide = select(rows, what="dimension")
        most = max(row["N"] for row in wide)
        scaled = [row["scaled_tv"] / row["limit"] for row in wide if row["N"] == most]
        paths = [row["scaled_kl"] / row["kl_limit"] for row in wide if row["N"] == most]
        path = {(row["schedule"], row["sampler"]): row for row in select(rows, what="path")}
        split = [(path["linear", name]["reveal_times"], word) for name, word in REVEAL.items()]
        split += [(path["linear", "euler"]["kl"], "0.0544779"), (path["constant 8", "ancestral"]["kl"], "0.207622")]
        gap = max(abs(at["linear", "euler", n]["tv"] - at["linear", "ancestral", n]["tv"]) for n in steps)
        checks = [
            Check(
                f"slope of log TV against log N, Euler, N = {last[0]} to {last[-1]}",
                slope(last, tv),
                -1.05,
                -0.93,
                f"{PAPER}, rate in ε",
            ),
            Check("slope of log KL of the output", slope(last, kl), -2.1, -1.85, "KL of a law of full support ~ TV²"),
            Check(
                f"d/4 examples: smallest N·TV / (d/4), N = {most}", min(scaled), 0.9, 1.0, f"{PAPER}, lower bound in d"
            ),
            Check(
                f"d/4 examples: largest N·TV / (d/4), N = {most}", max(scaled), 0.9, 1.0, f"{PAPER}, lower bound in d"
            ),
            Check("path KL: N·KL / (d log 2 / 2), smallest", min(paths), 0.9, 1.01, "information / 2"),
            at_most("linear schedule: |TV of Euler - TV of ancestral|", gap, 1e-14, "they are the same"),
            digits("TV and KL by N", pairs, REFERENCE),
            digits("path KL and its reveal-time part, N = 64", split, REFERENCE),
        ]
        if most == 512:
            eight = {row["law"]: row["scaled_tv"] for row in wide if row["d"] == 8}
            checks.append(digits("N·TV at d = 8", [(eight[name], word) for name, word in SCALED.items()], REFERENCE))
        return checks

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """TV against N and N TV against d."""
        panels = []
        for schedule in SCHEDULES:
            curves = []
            for color, name in enumerate(SAMPLERS):
                some = select(rows, what="steps", schedule=schedule, sampler=name)
                curves.append(Curve(name, [row["N"] for row in some], [row["tv"] for row in some], color=color))
            panels.append(Panel(f"S = 3, L = 4, {schedule}", "steps N", "TV to the data", curves))
        wide = select(rows, what="dimension")
        most = max(row["N"] for row in wide)
        curves = []
        for color, name in enumerate(LAWS):
            some = [row for row in wide if row["law"] == name and row["N"] == most]
            curves.append(Curve(name, [row["d"] for row in some], [row["scaled_tv"] for row in some], color=color))
        d = [row["d"] for row in wide if row["law"] == "pairs" and row["N"] == most]
        curves.append(Curve("d/4", d, [one / 4 for one in d], "bound", 3))
        return [*panels, Panel(f"N·TV against the dimension, N = {most}", "bits d", "N·TV", curves, log="")]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The dimension."""
        wide = select(rows, what="dimension")
        most = max(row["N"] for row in wide)
        some = [row for row in wide if row["N"] == most]
        return columns(some, "law", "d", "N", "tv", "scaled_tv", "limit", "scaled_kl", "kl_limit")


def _by_steps(words: str, steps: Sequence[int]) -> list[tuple[int, str]]:
    return [(n, word) for n, word in zip(STEPS, words.split(), strict=True) if n in steps]
