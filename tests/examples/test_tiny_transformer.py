"""The transformer's gradient against finite differences; it is causal."""

from __future__ import annotations

import numpy as np
import pytest

from examples.tiny_transformer import TinyTransformer


@pytest.fixture
def model() -> TinyTransformer:
    model = TinyTransformer(7, length=5, seed=1, width=8, heads=2)
    random = np.random.default_rng(2)
    for name in ("distance", "inner_bias", "read_out_bias"):
        model.parameters[name] = random.normal(size=model.parameters[name].shape)
    return model


def test_the_gradient_is_that_of_finite_differences(model: TinyTransformer) -> None:
    random = np.random.default_rng(3)
    tokens = random.integers(0, 7, (3, 6))
    seen, wanted = tokens[:, :-1], tokens[:, 1:]

    def loss() -> float:
        return -float(np.take_along_axis(model.log_probabilities(seen), wanted[..., None], 2).mean())

    gradient = model._backward(seen, wanted, model._forward(seen))
    assert gradient.keys() == model.parameters.keys()
    for name, parameter in model.parameters.items():
        for _ in range(4):
            place = tuple(int(random.integers(0, size)) for size in parameter.shape)
            before = parameter[place]
            parameter[place] = before + 1e-6
            above = loss()
            parameter[place] = before - 1e-6
            slope = (above - loss()) / 2e-6
            parameter[place] = before
            assert gradient[name][place] == pytest.approx(slope, abs=1e-6), name


def test_what_comes_later_changes_nothing_before_it(model: TinyTransformer) -> None:
    logs = model.log_probabilities(np.array([[1, 2, 3, 4, 5]]))
    other = model.log_probabilities(np.array([[1, 2, 3, 6, 0]]))
    assert np.allclose(logs[:, :3], other[:, :3], atol=1e-12)
    assert not np.allclose(logs[:, 3], other[:, 3])
    assert np.allclose(np.exp(logs).sum(-1), 1)
