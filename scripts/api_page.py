"""Write docs/api.md, the page of the public Python interface, from the docstrings.

Nothing of the package is imported: griffe reads its source. With --check nothing is written, and
the exit code is 1 if the page is out of date.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"
PACKAGE = "bev_instseg"
HEAD = """# Python interface

Written by `python scripts/api_page.py` from the docstrings: change those, not this page.
Sensor frame: x forward, y left, z up; metres and radians. Shapes: N points, P pillars, C classes,
K instances, F features.
"""
# The modules in the order of the page and what of them is shown; "" is all that __all__ names.
MODULES = {
    "": "",
    ".config": "Config ClassConfig DataConfig SourceConfig ModelConfig LossConfig ClusterConfig "
    "AugmentConfig TrainConfig load_config override_config save_config config_from_dict "
    "config_to_dict check_same_network",
    ".datasets.sweep": "read_sweep Sweep SUFFIXES",
    ".datasets.setup": "Mounting SENSORS",
    ".export": "",
    ".visualize": "",
    ".datasets.sources": "detect_layout list_frames FrameRef",
    ".datasets.simulate": "simulate_sweep write_sweep SensorConfig",
    ".evaluation": "evaluate",
    ".metrics": "Evaluator Result ClassResult Comparison overlap_table is_match is_error "
    "is_wrong_class is_background SEGMENT",
    ".training_set": "list_sources TrainingSet",
    ".engine": "Trainer TrainingError",
    ".checkpoint": "default_weights load_model save_weights save_with_config CheckpointError",
    ".streaming": "in_parallel",
    ".ops.voxelize": "voxelize FEATURES",
    ".ops.ground": "estimate_ground",
    ".ops.cluster": "cluster Clusters",
    ".ops.assemble": "assemble",
    ".ops.boxes": "oriented_boxes",
    ".losses": "batch_losses frame_losses lovasz_hinge membership seed_loss smoothness_loss "
    "regression_loss hinge_loss mean_per_object",
}
LINE = 92  # a signature longer than this goes over several lines


def main(argv: list[str] | None = None) -> int:
    """Write or check the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    arguments, text = parser.parse_args(argv), page()
    if not arguments.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.relative_to(ROOT)}: out of date; run python scripts/api_page.py")
        return 1
    return 0


def page() -> str:
    """The whole page."""
    package: Any = griffe.load(PACKAGE, search_paths=[ROOT])
    index, body, meaning = [], [], dict(aliases(package))
    for suffix, names in MODULES.items():
        path, module = PACKAGE + suffix, package[suffix[1:]] if suffix else package
        public = {str(name): module[str(name)] for name in names.split() or module.exports}
        public = {n: m.final_target if m.is_alias else m for n, m in public.items()}
        links = ", ".join(f"[{name}](#{anchor(f'{path}.{name}')})" for name in public)
        index.append(f"- [`{path}`](#{anchor(path)}): {links}")
        body += [f"## `{path}`", *docstring(module)]
        for name, member in public.items():
            body += entry("###", path, name, member, meaning)
    return "\n\n".join([HEAD.strip(), "\n".join(index), *body]) + "\n"


def aliases(module: Any) -> Iterator[tuple[str, str]]:
    """Name and meaning of each ``Name = Literal[...]`` or ``NDArray[...]`` of a package."""
    for member in module.members.values():
        if member.is_alias:
            continue
        if member.is_module:
            yield from aliases(member)
        elif member.is_attribute and re.match(r"(Literal|NDArray)\[", str(member.value)):
            yield member.name, str(member.value)


def entry(level: str, path: str, name: str, member: Any, meaning: dict[str, str]) -> list[str]:
    """Heading, code and docstring of a class, function or constant; of a class, its methods'."""
    if member.is_attribute:  # a constant or a property
        code = member.source if member.parent.is_module else f"{name}: {member.annotation}"
    else:
        code = member.signature().strip() or f"class {name}({', '.join(map(str, member.bases))})"
    code = re.sub(r"\b\w+\b", lambda word: meaning.get(word[0], word[0]), code).replace("'", '"')
    if len(code) > LINE and (parts := re.fullmatch(r"(\w+\()(.*)(\).*?)", code)):
        names = "|".join(parameter.name for parameter in member.parameters)
        items = re.split(rf", (?=\*|(?:{names}): )", parts[2])
        code = "\n".join([parts[1], *(f"    {item}," for item in items), parts[3]])
    text = [f"{level} `{path}.{name}`", f"```python\n{code}\n```", *docstring(member)]
    if member.is_class:
        text += docstring(member.members.get("__init__"))
        for part, method in member.members.items():
            shown = method.docstring and not re.match("_[a-z]|__init|__post", part)
            if shown and (method.is_function or "property" in method.labels):
                text += entry("####", name, part, method, meaning)
    return text


def docstring(member: Any) -> list[str]:
    """The parts of a docstring as Markdown."""
    text: list[str] = []
    for section in (
        member.docstring.parse("google", warnings=False) if member and member.docstring else ()
    ):
        kind, value = section.kind.value, section.value
        if kind == "text":
            text += map(paragraph, value.split("\n\n"))
            continue
        lines = [item(kind, part) for part in value]
        if kind in ("returns", "yields") and not value[0].name:  # griffe takes lines for values
            lines = [" ".join([lines[0], *(part.description for part in value[1:])])]
        text += [f"**{kind.capitalize()}**", "\n".join(lines)]
    return text


def paragraph(text: str) -> str:
    """A paragraph; code if it is an example or a table."""
    language = "python" if text.startswith(">>>") else "text"
    return f"```{language}\n{text}\n```" if text.startswith((">>>", "===")) else text


def item(kind: str, part: Any) -> str:
    """One parameter, result or error of a docstring, as an entry of a list."""
    name, text = getattr(part, "name", ""), " ".join(part.description.split())
    if kind == "raises":
        name = str(part.annotation)
    elif name.endswith(","):  # several names: griffe takes the others for a type
        name = f"{name} {str(part.annotation).strip('()')}"
    return f"- `{name}`: {text}" if name else f"- {text}"


def anchor(heading: str) -> str:
    """The fragment that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())
