"""Imports point one way: the layers of the package, checked in the source of every file.

A module is a subpackage or a file directly below ``bev_instseg``; add a new one to `LAYERS`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "bev_instseg"
ROOT = Path(__file__).resolve().parent.parent

# A subpackage or file may import its own layer and earlier ones, never in a circle.
LAYERS = (
    (
        *("exceptions", "tables", "file_io", "grid", "structures", "strict_yaml", "memory"),
        *("forking", "config", "config_files", "colours", "model_files"),
    ),
    ("ops",),
    ("io",),
    ("datasets",),
    ("simulate", "models"),
    ("checkpoint", "engines"),
    ("segmenter", "stages", "tiles", "tta", "weights"),
    ("tracking",),
    ("visualize", "export"),
    ("evaluation",),
    ("training",),
    ("jobs",),
    ("live",),
    ("benchmark", "study"),
    ("cli",),  # last: may import everything
)
LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}

# Narrower than the layers: all that these may import of the package.
ONLY = {"ops": {"ops", "grid", "structures"}}
# These never import torch, in whatever function.
WITHOUT_TORCH = {
    *LAYERS[0],
    *(
        "ops",
        "io",
        "datasets",
        "simulate",
        "visualize",
        "export",
        "stages",
        "tiles",
        "tta",
        "jobs",
        "tracking",
        "live",
    ),
    *(f"engines/{name}" for name in ("engine", "threads", "onnx_engine", "openvino_engine")),
    *(
        f"evaluation/{name}"
        for name in (
            *("segments", "metrics", "buckets", "error_study", "error_pictures", "reliability"),
            *("score_calibration", "class_agnostic"),
        )
    ),
    *(
        f"training/{name}"
        for name in ("augment", "cutouts", "occlusion", "paste", "targets", "training_set")
    ),
}
# Big or not always installed: imported inside the functions that need them.
INSIDE_FUNCTIONS = {
    *(
        "laspy",
        "lazrs",
        "matplotlib",
        "onnx",
        "cyclonedds",
        "kiss_icp",
        "onnxruntime",
        "openvino",
        "open3d",
        "ray",
        "rerun",
        "spconv",
        "tensorboard",
        "velodyne_decoder",
        "viser",
    ),
}


class Import(NamedTuple):
    """One imported name: ``from a.b import c`` is ``("a", "b", "c")``."""

    name: tuple[str, ...]
    line: int
    runs_on_import: bool


def imports_of(source: str, folder: tuple[str, ...]) -> Iterator[Import]:
    """Every import of a file; ``folder`` is the package it lies in, for relative ones."""

    def walk(node: ast.AST, runs: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(tuple(alias.name.split(".")), node.lineno, runs)
        elif isinstance(node, ast.ImportFrom):
            base = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = folder[: len(folder) - node.level + 1] + base
            for alias in node.names:
                yield Import((*base, alias.name), node.lineno, runs)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in (
            "TYPE_CHECKING",
            "typing.TYPE_CHECKING",
        ):
            for child in node.body:
                yield from walk(child, False)
            for child in node.orelse:
                yield from walk(child, runs)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for child in ast.iter_child_nodes(node):
                yield from walk(child, runs and not inside)

    return walk(ast.parse(source), True)


def package_imports(module: str, source: str, folder: tuple[str, ...]) -> set[str]:
    """The other modules of the package that a file of ``module`` imports."""
    names = (found.name for found in imports_of(source, folder))
    return {name[1] for name in names if name[0] == PACKAGE and len(name) > 1} - {module}


def broken_rules(
    module: str, source: str, folder: tuple[str, ...] = (PACKAGE,), file: str = ""
) -> list[str]:
    """One line for each import of a file of ``module`` that breaks a rule."""
    broken = []
    without_torch = module in WITHOUT_TORCH or f"{module}/{file}" in WITHOUT_TORCH
    for name, line, runs_on_import in imports_of(source, folder):
        target = name[1] if name[0] == PACKAGE and len(name) > 1 else ""
        if name[0] == PACKAGE and target not in LAYER_OF:
            broken.append(f"{line}: import it from the module that defines it: {'.'.join(name)}")
        elif target and LAYER_OF[target] > LAYER_OF[module]:
            broken.append(f"{line}: {target} is above {module}")
        elif target and target not in ONLY.get(module, LAYER_OF):
            broken.append(f"{line}: {module} imports nothing but {', '.join(sorted(ONLY[module]))}")
        elif name[0] == "torch" and without_torch:
            broken.append(f"{line}: {module} does without torch")
        elif name[0] in INSIDE_FUNCTIONS and runs_on_import:
            broken.append(f"{line}: import {name[0]} inside the function that needs it")
        elif name[0] in ("tools", "tests"):
            broken.append(f"{line}: the package does not know {name[0]}")
    return broken


def module_files() -> list[tuple[str, Path]]:
    """Module and path of each file of the package but its ``__init__``, which imports lazily."""
    package = ROOT / PACKAGE
    files = [path for path in sorted(package.rglob("*.py")) if path != package / "__init__.py"]
    return [(path.relative_to(package).parts[0].removesuffix(".py"), path) for path in files]


def folder_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(ROOT).parent.parts


def test_every_module_has_a_layer() -> None:
    modules = {module for module, _ in module_files()}
    assert {"grid", "structures", "config", "ops", "datasets", "models"} <= modules
    unknown = sorted(modules - LAYER_OF.keys())
    assert not unknown, f"add {', '.join(unknown)} to LAYERS at the top of tests/test_imports.py"


def test_imports_keep_the_rules() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line}"
        for module, path in module_files()
        if module in LAYER_OF
        for line in broken_rules(
            module, path.read_text(encoding="utf-8"), folder_of(path), path.stem
        )
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_modules_import_each_other_in_no_circle() -> None:
    waits_for: dict[str, set[str]] = {}
    for module, path in module_files():
        found = package_imports(module, path.read_text(encoding="utf-8"), folder_of(path))
        waits_for.setdefault(module, set()).update(found)
    while free := [m for m, others in waits_for.items() if not others & waits_for.keys()]:
        for module in free:
            del waits_for[module]
    assert not waits_for, f"these import each other: {waits_for}"


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("grid", "from bev_instseg.ops.cluster import cluster", "ops is above grid"),
        ("ops", "from ..models import network", "models is above ops"),
        ("datasets", "def f():\n    import bev_instseg.training.trainer", "training is above"),
        ("ops", "from bev_instseg.config import Config", "imports nothing but"),
        ("ops", "from torch import nn", "does without torch"),
        ("datasets", "def f():\n    import torch.utils.data", "does without torch"),
        ("segmenter", "from bev_instseg.visualize import draw", "visualize is above"),
        ("segmenter", "from bev_instseg import Instances", "module that defines it"),
        ("models", "try:\n    import spconv.pytorch\nexcept ImportError:\n    pass", "inside the"),
        ("datasets", "class A:\n    import open3d as o3d", "inside the function"),
        ("visualize", "import matplotlib.pyplot as plt", "inside the function"),
        ("training", "from tools import train_kitti", "does not know tools"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str, complaint: str) -> None:
    broken = broken_rules(module, source, (PACKAGE, module))
    assert len(broken) == 1
    assert complaint in broken[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("config", "from bev_instseg.grid import BEVGrid"),
        ("datasets", "from bev_instseg.ops.voxelize import voxelize\nimport numpy"),
        ("ops", "from . import cluster\nfrom ..grid import BEVGrid\nimport numba"),
        ("training", "import torch\nfrom bev_instseg.checkpoint import save"),
        ("datasets", "def f():\n    import open3d"),
        ("models", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import spconv"),
    ],
)
def test_a_kept_rule_is_left_alone(module: str, source: str) -> None:
    assert broken_rules(module, source, (PACKAGE, module)) == []


def test_importing_the_package_loads_nothing_big() -> None:
    program = (
        f"import sys, {PACKAGE}\n"
        "big = {'torch', 'open3d', 'spconv', 'matplotlib', 'pydantic', 'numba', 'rosbags'}\n"
        "print(*sorted(big & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
