"""Run from an installed wheel, away from the sources: the program of the README, and the shipped files."""

import pathlib
import tempfile

import torch

import ddm_pyro as ddm

target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
exact = target.denoiser(forward)
law = ddm.push(ddm.create("samplers", "core/ancestral"), exact, steps=8)
x = ddm.sample(ddm.create("samplers", "core/first-hitting"), exact, n=1000, steps=4, seed=0)
tv = ddm.create("metrics", "core/tv")(law, target.tabular())
if not (0.0 < tv.value < 0.1 and tv.kind == "exact" and x.shape == (1000, 4)):
    raise SystemExit(f"unexpected: {tv}, {tuple(x.shape)}")
if ddm.targets.Digits().train.shape[1] != 64 or "site-packages" not in ddm.__file__:
    raise SystemExit("the wheel lacks its data, or the sources were imported instead")

plan = ddm.Plan.from_dict(
    {
        "name": "smoke",
        "samples": 100,
        "metrics": ["core/tv"],
        "experiments": [
            {
                "target": {"id": "core/potts-chain", "num_states": 2, "length": 3, "coupling": 1.0},
                "rate": "core/masked",
                "schedule": "core/linear",
                "parameterization": "core/exact",
                "samplers": ["core/ancestral"],
                "steps": [2],
            }
        ],
    }
)
with tempfile.TemporaryDirectory() as out:
    rows = ddm.evaluate(plan, out=pathlib.Path(out)).rows
    if [row["status"] for row in rows] != ["ok"]:
        raise SystemExit(f"unexpected rows: {rows}")
print("smoke test passed with torch", torch.__version__)
