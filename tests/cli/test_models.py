"""``ddm-pyro train`` and ``sample``."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ddm_pyro.cli import main
from ddm_pyro.cli.references import parse

TINY = ("--network", "mlp{width=8, depth=1}", "--batch-size", 16)
CHAIN = "core/potts-chain{num_states=3, length=4, coupling=1.0}"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "chain.ckpt"
    result = invoke("train", CHAIN, "--out", path, "--steps", 5, *TINY)
    assert (result.exit_code, result.stdout) == (0, f"{path}\n"), result.stderr
    return path


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "text.ckpt"
    assert invoke("train", "core/text{window=6}", "--out", path, "--steps", 2, *TINY).exit_code == 0
    return path


def test_training_writes_one_file(model: Path) -> None:
    assert [one.name for one in model.parent.iterdir()] == ["chain.ckpt"]


def test_the_file_is_what_the_library_loads(model: Path) -> None:
    import ddm_pyro as ddm

    loaded = ddm.load(model)
    assert loaded.process.length == 4
    assert loaded.meta["target"]["params"]["num_states"] == 3


def test_training_again_needs_force(model: Path) -> None:
    before = model.read_bytes()
    refused = invoke("train", CHAIN, "--out", model, "--steps", 5, *TINY)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert model.read_bytes() == before
    told = json.loads(invoke("train", CHAIN, "--out", model, "--steps", 5, *TINY, "--force", "--json").stdout)
    assert (told["model"], told["steps"]) == (str(model), 5)


def test_an_interrupted_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ddm_pyro.training import fit

    def interrupted(*arguments: Any, **options: Any) -> None:
        def stop(done: int, loss: float) -> None:
            if done == 3:
                raise KeyboardInterrupt

        fit(*arguments, **{**options, "progress": stop})

    once, twice = tmp_path / "once.ckpt", tmp_path / "twice.ckpt"
    assert invoke("train", CHAIN, "--out", once, "--steps", 6, *TINY).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr("ddm_pyro.training.fit", interrupted)
        stopped = invoke("train", CHAIN, "--out", twice, "--steps", 6, *TINY)
    assert stopped.exit_code == 130
    assert "twice.ckpt.partial" in stopped.stderr
    assert not twice.exists()
    assert invoke("train", CHAIN, "--out", twice, "--steps", 6, *TINY).exit_code == 0
    assert twice.read_bytes() == once.read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["once.ckpt", "twice.ckpt"]


def test_a_file_of_rows_is_a_target(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([[0, 1, 4], [2, 2, 2]], dtype=np.uint8))
    out = tmp_path / "model.ckpt"
    assert invoke("train", tmp_path / "rows.npy", "--out", out, "--steps", 2, "--rate", "uniform", *TINY).exit_code == 0
    drawn = invoke("sample", out, "-n", 5, "--steps", 3).stdout.split("\n")[:-1]
    assert [len(line.split()) for line in drawn] == [3] * 5
    assert all(0 <= int(token) <= 4 for line in drawn for token in line.split())


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2)), np.zeros(3, dtype=int), np.zeros((0, 3), dtype=int), np.array([[-1, 0]])]
)
def test_a_file_that_holds_no_tokens(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "rows.npy", array)
    result = invoke("train", tmp_path / "rows.npy", "--out", tmp_path / "model.ckpt")
    assert result.exit_code == 2
    assert "whole numbers from 0 on" in result.stderr
    assert not (tmp_path / "model.ckpt").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("core/digts",), "Did you mean 'core/digits'?"),
        (("core/digits", "--rate", "core/maskd"), "Did you mean 'core/masked'?"),
        (("core/digits", "--network", "mlp{wdth=3}"), "Did you mean 'width'?"),
        (("core/digits", "--network", "mpl"), "Did you mean 'mlp'?"),
        (("core/digits", "--network", "mlp{width"), "write an id"),
        (("core/digits", "--parameterization", "core/exact"), "nothing to train"),
        (("absent.npy",), "absent.npy"),
    ],
)
def test_wrong_requests_are_one_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    result = invoke("train", *arguments, "--out", tmp_path / "model.ckpt")
    assert result.exit_code in (1, 2)
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_samples_depend_on_the_seed_alone(model: Path) -> None:
    first = invoke("sample", model, "-n", 40, "--steps", 4)
    assert first.exit_code == 0, first.stderr
    assert invoke("sample", model, "-n", 40, "--steps", 4, "--batch-size", 7).stdout == first.stdout
    assert invoke("sample", model, "-n", 40, "--steps", 4, "--seed", 1).stdout != first.stdout


def test_samples_as_files_and_as_json(model: Path, tmp_path: Path) -> None:
    told = json.loads(invoke("sample", model, "-n", 4, "--steps", 4, "--json").stdout)["samples"]
    assert invoke("sample", model, "-n", 4, "--steps", 4, "--out", tmp_path / "x.npy").exit_code == 0
    assert np.load(tmp_path / "x.npy").tolist() == told
    assert invoke("sample", model, "-n", 4, "--steps", 4, "--out", tmp_path / "x.txt").exit_code == 0
    assert [[int(token) for token in line.split()] for line in (tmp_path / "x.txt").read_text().splitlines()] == told
    assert invoke("sample", model, "--out", tmp_path / "x.csv").exit_code == 2


def test_images_as_one_picture(model: Path, tmp_path: Path) -> None:
    digits = tmp_path / "digits.ckpt"
    assert invoke("train", "core/digits", "--out", digits, "--steps", 1, *TINY).exit_code == 0
    picture = tmp_path / "x.png"
    assert invoke("sample", digits, "-n", 3, "--steps", 2, "--out", picture).exit_code == 0
    # Three 8 x 8 images side by side, a pixel of gap around each.
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (3 * 9 + 1, 9 + 1)
    refused = invoke("sample", model, "--out", tmp_path / "y.png")
    assert refused.exit_code == 2
    assert "are no images" in refused.stderr
    assert not (tmp_path / "y.png").exists()


def test_text_is_written_as_text(text_model: Path) -> None:
    drawn = invoke("sample", text_model, "-n", 3, "--steps", 2).stdout.split("\n")[:-1]
    assert [len(line) for line in drawn] == [6] * 3
    assert set("".join(drawn)) <= set("abcdefghijklmnopqrstuvwxyz ")


def test_a_sampler_that_fixes_its_steps_needs_none(model: Path) -> None:
    assert invoke("sample", model, "--sampler", "first-hitting{refresh=2}").exit_code == 0
    refused = invoke("sample", model, "--sampler", "first-hitting", "--steps", 77)
    assert refused.exit_code == 2
    assert "77" in refused.stderr


@pytest.mark.parametrize(("steps", "blocks"), [((), 4), (("--steps", 2), 2)])
def test_balanced_blocks(model: Path, steps: tuple[object, ...], blocks: int) -> None:
    drawn = invoke("sample", model, "-n", 3, "--sampler", 'k-unmask{sizes="balanced"}', *steps)
    assert drawn.exit_code == 0, drawn.stderr
    sizes = [4 // blocks] * blocks
    assert invoke("sample", model, "-n", 3, "--sampler", f"k-unmask{{sizes={sizes}}}").stdout == drawn.stdout
    refused = invoke("sample", model, "--sampler", 'k-unmask{sizes="balanced"}', "--steps", 5)
    assert refused.exit_code == 2
    assert "into 5 blocks" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (("--sampler", "first-hitting{refresh='x'}"), "refresh='x' of 'core/first-hitting' must be a whole number"),
        (("--sampler", "first-hitting{refresh=0}"), "refresh=0"),
        (("--sampler", "k-unmask{sizes=[1, 1]}"), "sum to 4"),
        (("--device", "abacus"), "no device 'abacus'"),
    ],
)
def test_what_a_model_cannot_do_is_one_sentence(model: Path, arguments: tuple[str, ...], piece: str) -> None:
    refused = invoke("sample", model, *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert piece in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (("core/potts-chain{num_states=3, length='x', coupling=1.0}",), "length='x' of"),
        ((CHAIN, "--network", "mlp{width='x'}"), "--network"),
        ((CHAIN, "--rate", "uniform", "--parameterization", "mask-predictor"), "mask"),
        ((CHAIN, "--rate", "rank-one{stationary=[0.5, 0.8]}"), "1.3"),
    ],
)
def test_a_training_that_cannot_be_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], piece: str) -> None:
    refused = invoke("train", *arguments, "--out", tmp_path / "model.ckpt")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert piece in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"something else"])
def test_a_checkpoint_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.ckpt"
    if content is not None:
        path.write_bytes(content)
    result = invoke("sample", path)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert "FileNotFoundError" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{a=1}", "a{b}", "a{b=1", "a}b{", "a{b=1}{c=2}"])
def test_references_that_are_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="write an id"):
        parse(text)
