"""The estimates of memory, and what there is."""

from pathlib import Path

import pytest

from bev_instseg import memory
from bev_instseg.config import Config
from bev_instseg.memory import (
    inference_bytes,
    machine_bytes,
    num_weights,
    shortage,
    training_bytes,
)
from bev_instseg.models.network import BEVNet


@pytest.mark.parametrize("widths", [(32, 48, 64, 96, 128), (8, 8, 8), (64, 64, 64, 64)])
def test_the_number_of_weights_is_about_right(widths: tuple[int, ...]) -> None:
    blocks = (1, 1, 2, 2, 1)[: len(widths)]
    config = Config(model=type(Config().model)(widths=widths, blocks=blocks))
    true = sum(weights.numel() for weights in BEVNet(config).parameters())
    assert 0.8 < num_weights(widths, blocks) / true < 1.4


def test_estimates_grow_with_what_they_are_made_of() -> None:
    widths, blocks = (8, 8, 16), (1, 1, 1)
    weights = 4 * num_weights(widths, blocks)
    # A table of 6 bytes a cell; three maps of 16 channels in float32 at stride 4.
    assert inference_bytes(1600, widths, blocks) == 1600 * 6 + 3 * 100 * 16 * 4 + 2 * weights
    one, two = (training_bytes(1600, widths, blocks, frames) for frames in (1, 2))
    assert two - one == 1600 * 6 + 6 * 2 * 100 * 16 * 4
    assert 2 * one - two == 5 * weights


def test_a_shortage_is_put_into_words() -> None:
    assert shortage(10, 10) == ""
    assert shortage(3 * 10**12, 10**9) == "needs about 3,000.0 GB of memory, but there are 1.0 GB"


@pytest.mark.parametrize(
    ("limit", "expected"), [("max\n", None), ("1000000\n", 10**6), ("9" * 30, None)]
)
def test_the_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int | None
) -> None:
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", tmp_path / "absent")
    physical = machine_bytes()
    assert physical > 10**8
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", tmp_path / "memory.max")
    assert machine_bytes() == (expected or physical)
