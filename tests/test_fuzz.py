"""A short form of `make fuzz`: no damage to a file makes a parser fail in its own way."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from fuzz_seeds import SEEDS
from fuzz_targets import TARGETS, Target, check

EACH = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
DAMAGED = 40  # inputs per valid one


def damaged(seed: bytes, words: tuple[str, ...], rng: np.random.Generator) -> Iterator[bytes]:
    """Cut, flip, overwrite, repeat and insert at random places."""
    for number in range(DAMAGED):
        data = bytearray(seed)
        for _ in range(1 + number % 3):
            at = int(rng.integers(len(data) + 1))
            length = int(rng.integers(1, 9))
            match rng.integers(6):
                case 0:
                    del data[at:]
                case 1:
                    del data[at : at + length]
                case 2:
                    data[at : at + length] = rng.bytes(length)
                case 3:
                    data[at : at + length] = bytes([rng.choice([0, 127, 255])]) * length
                case 4:
                    data[at:at] = data[at : at + 50 * length]
                case _:
                    data[at:at] = rng.choice([*words, "-1", "nan"]).encode("latin-1")
        yield bytes(data)


@EACH
def test_the_seeds_are_valid(target: Target, tmp_path: Path) -> None:
    assert all(check(target, seed, tmp_path) for seed in SEEDS[target.name]())


@EACH
def test_damaged_files_are_read_or_refused(target: Target, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for seed in SEEDS[target.name]():
        for data in damaged(seed, target.words, rng):
            check(target, data, tmp_path)


def test_other_exceptions_and_long_messages_are_findings(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise KeyError(path)

    def explain_at_length(path: Path) -> None:
        raise ValueError(f"{path}: two\nlines")

    with pytest.raises(KeyError):
        check(Target("none", ".bin", fail, ValueError), b"", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="one line"):
        check(Target("none", ".bin", explain_at_length, ValueError), b"", tmp_path)  # type: ignore[arg-type]
