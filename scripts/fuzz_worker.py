"""Fuzz one parser in this process; `scripts/fuzz.py` starts it.

Usage: python scripts/fuzz_worker.py TARGET [LIBFUZZER_OPTION ...]
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bev_instseg"]):
    import fuzz_seeds
    from fuzz_targets import TARGETS, check


def main() -> None:
    """Fuzz until an option or a finding ends the process."""
    name, *options = sys.argv[1:]
    [target] = [target for target in TARGETS if target.name == name]
    with tempfile.TemporaryDirectory() as work:
        corpus, words = Path(work) / "corpus", Path(work) / "words"
        corpus.mkdir()
        for number, seed in enumerate(fuzz_seeds.SEEDS[name]()):
            (corpus / str(number)).write_bytes(seed)
        if target.words:
            words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
            options.append(f"-dict={words}")
        inputs = Path(work) / "inputs"
        inputs.mkdir()

        def read(data: bytes) -> None:
            check(target, data, inputs)

        atheris.Setup([sys.argv[0], *options, str(corpus)], read)
        atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode("latin-1"))


if __name__ == "__main__":
    main()
