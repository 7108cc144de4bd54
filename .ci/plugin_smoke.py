"""Run from installed wheels: a plan made of a plugin's components, found through its entry point."""

import ddm_pyro_lattice

import ddm_pyro as ddm

experiment = {
    "target": {"id": "lattice/two-modes", "size": 5},
    "rate": "lattice/cyclic-walk",
    "schedule": {"id": "core/constant", "total": 8.0},
    "parameterization": "core/exact",
    "samplers": ["lattice/leap"],
    "steps": [8],
    "metrics": ["core/tv", {"id": "lattice/w1", "cyclic": True}],
    "bounds": ["lattice/path-kl"],
}
rows = ddm.evaluate(ddm.Plan.from_dict({"name": "plugin smoke", "experiments": [experiment]})).rows
if [(row["status"], row["holds"], row["sampler_dist"]) for row in rows] != [("ok", True, rows[0]["sampler_dist"])] * 2:
    raise SystemExit(f"unexpected rows: {rows}")
if "ddm-pyro-lattice" not in rows[0]["sampler_dist"] or "site-packages" not in ddm_pyro_lattice.__file__:
    raise SystemExit(f"the plugin was not installed from its wheel: {ddm_pyro_lattice.__file__}")
print("plugin smoke test passed:", rows[0]["sampler_dist"])
