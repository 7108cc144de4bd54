"""What the report shows beyond rows: errors by position, and the calibration of the denoiser."""

from __future__ import annotations

import math

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.evaluation import Plan, evaluate
from ddm_pyro.evaluation.artifacts import read_json
from ddm_pyro.evaluation.calibration import LEVELS, calibration, reliability
from ddm_pyro.evaluation.positions import position_errors, token_laws

from .conftest import CHAIN, small_plan, trained_plan


class Stubborn(torch.nn.Module):
    """The same logits at every masked position."""

    def __init__(self, probs: list[float]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(probs).log())

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(*x.shape, -1)


def stubborn(probs: list[float], length: int) -> ddm.MaskPredictor:
    process = ddm.ForwardProcess(ddm.rates.Masked(len(probs)), ddm.schedules.Linear(), length=length)
    return ddm.MaskPredictor(Stubborn(probs), process)


def test_errors_by_position_are_the_total_variation_of_each_marginal():
    torch.manual_seed(0)
    p, q = (ddm.targets.random_tabular((2, 4, 3), seed=seed).tabular() for seed in (1, 2))
    tables = [law.pmf.reshape(2, 4, 3) for law in (p, q)]
    for position, others in enumerate([(1, 2), (0, 2), (0, 1)]):
        a, b = (table.sum(others) for table in tables)
        assert position_errors(p, q)[position].item() == pytest.approx(0.5 * (a - b).abs().sum().item(), abs=1e-14)
    assert position_errors(p, q).max().item() == pytest.approx(ddm.metrics.PositionTV()(p, q).value, abs=1e-12)


def test_token_laws_of_samples_are_shares_and_a_pmf_may_be_a_list_of_atoms():
    space = ddm.StateSpace(3, 2)
    x = torch.tensor([[0, 2], [0, 1], [1, 2], [0, 2]])
    shares = [[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]]
    assert token_laws(ddm.Samples(x, space)).tolist() == shares
    atoms = ddm.Tabular(atoms=x[:3], probs=torch.tensor([0.5, 0.25, 0.25]).double(), space=space)
    assert token_laws(atoms).tolist() == shares


def test_a_model_that_boasts_is_found_out_and_one_that_knows_is_not():
    torch.manual_seed(0)
    x0 = ddm.targets.Product([[0.5, 0.3, 0.2]] * 4).sample((4000,))
    honest = calibration(stubborn([0.5, 0.3, 0.2], 4), x0, seed=1)
    boasting = calibration(stubborn([0.9, 0.06, 0.04], 4), x0, seed=1)
    assert [one["t"] for one in honest] == list(LEVELS)
    for one in boasting:
        (only,) = one["bins"]
        # Right in half of the cases, confident in nine of ten.
        assert one["error"] == pytest.approx(0.4, abs=5 * 0.5 / math.sqrt(one["n"]))
        assert only["confidence"] == pytest.approx(0.9)
        assert abs(only["share"] - 0.5) < 5 * only["stderr"]
    for one in honest:
        # Masked positions: a share t of all.
        assert one["n"] == pytest.approx(16000 * one["t"], abs=5 * math.sqrt(16000 * one["t"] * (1 - one["t"])))
        assert one["error"] < 5 * 0.5 / math.sqrt(one["n"])
        # One bin of mean 1/2: E|N(0, 1/(4n))|.
        assert one["floor"] == pytest.approx(math.sqrt(2 / math.pi * 0.25 / one["n"]), rel=1e-6)
        assert one["bins"][0]["stderr"] == pytest.approx(0.5 / math.sqrt(one["n"]), rel=0.1)


@pytest.mark.parametrize("rate", [ddm.rates.Masked(3), ddm.rates.Uniform(3)])
def test_the_exact_denoiser_is_calibrated_at_every_level(rate):
    target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.2)
    process = ddm.ForwardProcess(rate, ddm.schedules.LogLinear(), length=4)
    torch.manual_seed(0)
    found = calibration(target.denoiser(process), target.sample((2000,)), seed=3)
    for one in found:
        assert one["error"] < 4 * one["floor"]
        assert all(abs(bin["share"] - bin["confidence"]) < 5 * bin["stderr"] + 0.02 for bin in one["bins"])
    if not process.is_masked:
        assert {one["n"] for one in found} == {8000}


def test_sequences_not_positions_are_what_is_independent():
    # Ten copies of each answer: the error of their mean is that of one.
    right = (torch.arange(400) % 2 == 0)[:, None].expand(400, 10)
    found = reliability(torch.full((400, 10), 0.5), right, torch.ones(400, 10, dtype=torch.bool))
    assert found["bins"][0]["stderr"] == pytest.approx(0.5 / math.sqrt(400), rel=1e-6)


def test_a_run_keeps_both_and_computes_them_once(tmp_path):
    plan = Plan.from_dict(trained_plan(samplers=["core/ancestral", "core/first-hitting"]))
    rows = evaluate(plan, out=tmp_path).rows
    assert {path.stem for path in (tmp_path / "positions").iterdir()} == {row["sample_key"] for row in rows}
    (file,) = (tmp_path / "calibration").iterdir()
    assert file.stem == rows[0]["train_key"]
    assert [one["t"] for one in read_json(file)["levels"]] == list(LEVELS)
    kept = read_json(tmp_path / "positions" / f"{rows[0]['sample_key']}.json")
    assert (len(kept["tv"]), kept["floor"]) == (3, None)
    law = ddm.push(ddm.samplers.Ancestral(), ddm.load(tmp_path / "models" / f"{file.stem}.safetensors"), steps=2)
    target = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
    assert max(kept["tv"]) == pytest.approx(ddm.metrics.PositionTV()(law, target).value, abs=1e-12)
    stamp = file.stat().st_mtime_ns
    (tmp_path / "rows.jsonl").unlink()
    evaluate(plan, out=tmp_path)
    assert file.stat().st_mtime_ns == stamp
    evaluate(plan, out=tmp_path, force=True)
    assert file.stat().st_mtime_ns != stamp


def test_samples_come_with_the_error_of_a_perfect_sampler(tmp_path):
    target = {**CHAIN, "length": 16}
    (row,) = evaluate(Plan.from_dict(small_plan(target=target, samples=400)), out=tmp_path).rows
    kept = read_json(tmp_path / "positions" / f"{row['sample_key']}.json")
    assert (len(kept["tv"]), len(kept["floor"]), kept["n"]) == (16, 16, 400)
    # The share of heads of a fair coin in 400 draws: E|N(0, 1 / (4 * 400))| = 0.02.
    assert 0.01 < sum(kept["floor"]) / 16 < 0.06
    assert not (tmp_path / "calibration").exists()  # nothing was learned


def test_what_fails_there_costs_no_row(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    for name in ("keep_positions", "keep_calibration"):
        monkeypatch.setattr(f"ddm_pyro.evaluation.measuring.{name}", broken)
    (row,) = evaluate(Plan.from_dict(trained_plan()), out=tmp_path).rows
    assert row["status"] == "ok"
    assert not (tmp_path / "positions").exists()
