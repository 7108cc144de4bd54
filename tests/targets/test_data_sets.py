from __future__ import annotations

import numpy as np
import pytest
import torch

from ddm_pyro import random
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets import DataSet, Digits, Text
from ddm_pyro.targets.text import SYMBOLS


def test_digits_are_the_1797_images():
    digits = Digits()
    whole = torch.cat([digits.train, digits.test])
    labels = torch.cat([digits.train_labels, digits.test_labels])
    assert whole.shape == (1797, 64)
    assert whole.dtype == labels.dtype == torch.int64
    assert (int(whole.min()), int(whole.max()), int(whole.sum())) == (0, 16, 561718)
    # Class sizes of the published test part.
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert len(whole.unique(dim=0)) == 1797
    assert digits.image_shape == (8, 8)
    assert digits.space == StateSpace(17, 64)


def test_labels_belong_to_their_images():
    # Nearest class mean of the training rows names most test rows; with shuffled labels one in ten.
    digits = Digits()
    means = torch.stack([digits.train[digits.train_labels == label].double().mean(0) for label in range(10)])
    named = torch.cdist(digits.test.double(), means).argmin(-1)
    assert (named == digits.test_labels).double().mean() > 0.85


def test_the_first_image_is_a_zero():
    digits = Digits(test_fraction=0.5)
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    whole, labels = torch.cat([digits.train, digits.test]), torch.cat([digits.train_labels, digits.test_labels])
    hit = (whole[:, :16] == torch.tensor(first)).all(-1)
    assert labels[hit].tolist() == [0]


def test_the_digits_split_is_fixed_and_touches_no_generator():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = Digits()
    torch.manual_seed(99)
    assert torch.equal(first.train, Digits().train)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not {tuple(row) for row in first.train.tolist()} & {tuple(row) for row in first.test.tolist()}
    # Every digit is in both parts, in about its share.
    assert first.test_labels.bincount().min() > 20
    assert torch.equal(Digits(split="test").rows, first.test)
    assert torch.equal(Digits(split="test").labels, first.test_labels)


def test_draws_are_training_rows_and_follow_the_seed():
    digits = Digits()
    with random.indexed(3, range(500)):
        x = digits.sample((500,))
    with random.indexed(3, range(300, 500)):
        again = digits.sample((200,))
    assert torch.equal(x[300:], again)
    rows = {tuple(row) for row in digits.train.tolist()}
    assert all(tuple(row) in rows for row in x.tolist())
    assert len(x.unique(dim=0)) > 350
    assert digits.sample().shape == (64,)
    assert digits.expand((2,)).sample((3,)).shape == (3, 2, 64)


@pytest.mark.parametrize("make", [Digits, Text])
def test_no_density(make):
    data = make()
    x = data.train[:2]
    assert data.entropy() is None
    calls = {
        "log_prob": lambda: data.log_prob(x),
        "posterior": lambda: data.posterior(torch.zeros(1)),
        "denoiser": lambda: data.denoiser(None),
        "tabular": data.tabular,
    }
    for name, call in calls.items():
        with pytest.raises(NotImplementedError, match=f"no known density, so it has no {name}.*10"):
            call()
    assert len(data.empirical()) == len(data.train)


@pytest.mark.parametrize("window", [1, 32, 50])
def test_text_windows(window):
    text = Text(window)
    assert text.symbols == SYMBOLS
    assert len(SYMBOLS) == 27
    assert text.train.shape[1] == text.test.shape[1] == window
    assert text.space == StateSpace(27, window)
    assert 0.8 < len(text.train) / len(text.test) < 1.25
    assert len(text.train) * window > 50_000
    # English: e is the commonest letter, and one symbol in five to eight is a space.
    counts = text.train.flatten().bincount(minlength=27)
    assert SYMBOLS[int(counts[:26].argmax())] == "e"
    assert 1 / 8 < counts[26] / counts.sum() < 1 / 5


def test_text_windows_join_to_running_text():
    running = "".join(Text(40).decode(Text(40).train))
    assert " the " in running
    assert "  " not in running
    assert Text(40).encode(running).tolist() == Text(40).train.flatten().tolist()


def test_the_test_text_is_not_in_the_training_text():
    # Topics quote one another: cut raw, a fifth of the test windows of 32 stand in the training text as they are.
    text = Text(32)
    running = "".join(text.decode(text.train))
    assert np.mean([window in running for window in text.decode(text.test)]) < 0.02


def test_encode_and_decode():
    text = Text(4)
    assert text.encode("Az, b").tolist() == [0, 25, 26, 1]
    assert text.decode(torch.tensor([0, 25, 26, 27])) == ["az _"]
    assert text.decode(torch.tensor([[0, 1], [2, 3]])) == ["ab", "cd"]
    with pytest.raises(ValueError, match="28"):
        text.decode(torch.tensor([28]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Digits(split="validation"), "split='validation'"),
        (lambda: Digits(test_fraction=1.0), "test_fraction=1.0"),
        (lambda: Digits(test_fraction=0.0), "test has shape"),
        (lambda: Text(window=0), "window=0"),
        (lambda: Text(window=10**7), "window=10000000 is longer"),
        (lambda: Text(test_fraction=0.0), "longer than the test text"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_data_set_checks_its_rows():
    rows = torch.tensor([[0, 2]])
    with pytest.raises(ValueError, match="mask id"):
        DataSet(StateSpace(2, 2), train=rows, test=rows)
    with pytest.raises(ValueError, match="train has shape"):
        DataSet(StateSpace(2, 2), train=torch.empty(0, 2, dtype=torch.int64), test=rows)
