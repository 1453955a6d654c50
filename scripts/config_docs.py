"""Write docs/configuration.md and configs/schema.json from the fields of the settings' classes.

With --check nothing is written, and the exit code is 1 if one of them is out of date.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from bev_instseg.config import Config
from bev_instseg.simulate.sensor import SensorConfig
from bev_instseg.strict_yaml import Tree, describe, find

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "configs" / "schema.json"
HEAD = """# Configuration

Written by `python scripts/config_docs.py` from the fields in `bev_instseg/config.py`: change those,
not this page.

Settings are read from YAML files. A file holds only what differs from the defaults below:

```yaml
# yaml-language-server: $schema=configs/schema.json
grid: {x_range_m: [-25.6, 25.6], y_range_m: [-25.6, 25.6]}
cluster: {seed_threshold: 0.7}
train:
  steps: 5000
  learning_rate: 1.0e-3
```

The first line is optional: editors with the YAML language server then complete keys, show their
meaning and mark mistakes. Unknown keys, duplicate keys, wrong types and values out of range are
errors; the message names the file and the key. YAML reads `1e-3` as text: write `1.0e-3`.

**Several files.** `bev-instseg train --config configs/mixed.yaml my.yaml` reads the files in this
order; later ones override earlier ones. Mappings are merged key by key, and lists of mappings
(`classes`, `data.sources`) entry by entry if both lists have the same length. Any other list
replaces the one before it.

**Settings of trained weights.** Weights carry the configuration that they were trained with. The
commands that use weights merge `--config my.yaml` into it in the same way:
`classes: [{min_points: 20}, {}, {}]` changes one setting of the first of three classes. `model`,
`grid.cell_m` and the number of classes cannot be changed. The defaults below are those of a new
training; the shipped weights carry their own thresholds (`seed_threshold` 0.7, `score_threshold`
0.5, `min_height_m` 0.05) and a score calibration.

**The resolved configuration.** A training run writes every setting, defaults included, to
`config.yaml` in its folder; the `.json` file beside the weights holds it under `config`. To see it
without training:

```python
from bev_instseg import load_config, save_config

save_config(load_config("configs/mixed.yaml", "my.yaml"), "resolved.yaml")
```
"""
SENSOR_HEAD = """## Sensors for the simulator

`bev-instseg simulate --sensor NAME` simulates a sensor with the beams of its data sheet, and
`bev-instseg simulate --help` lists the names. `--sensor any` draws a sensor for each sweep: half of
them real ones with their own calibration and speed, a quarter with made-up beams, the rest two
stacked heads, every second or fourth beam of a real sensor, or a field of view to the front only.
It also draws

- the height, 0.5 m (a delivery robot) to 3.5 m (a lorry), mostly that of a car;
- the attitude: most sweeps are level or tilted by about a degree, 15 % by up to 5;
- losses: pulses, beams, sectors hidden by the vehicle, in 10 % of the sweeps rain or fog;
- intensities: like KITTI's in a quarter of the sweeps, mostly dark as those of other sensors in
  two thirds, constant in the rest.

Points that return from rain or fog have SemanticKITTI's class 1 (outlier), which is void.

`--sensor my_sensor.yaml` reads a file with the keys below, the fields of `SensorConfig` in
`bev_instseg/simulate/sensor.py`. The defaults, and all named sensors, report intensities as KITTI's
sensor does. This one has two heads and intensities as dark as in nuScenes:

```yaml
elevations_deg: [10.67, 5.33, 0, -2.67, -5.33, -8, -10.67, -16, -21.33, -30.67]
azimuths: 1090
mounts: [{}, {z_m: -0.3, pitch_deg: 2}]
gain: 0.8
gamma: 2.6
fade_range_m: 300
intensity_limits: [0, 1]
intensity_steps: 255
```
"""
MOUNT_HEAD = """### `mounts`

A list; each entry has the keys below.
"""


def main(argv: list[str] | None = None) -> int:
    """Write or check the two files and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only report files out of date")
    arguments = parser.parse_args(argv)
    stale = 0
    for path, text in ((PAGE, page()), (SCHEMA, json.dumps(editor_schema(), indent=1) + "\n")):
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.relative_to(ROOT)}: out of date; run python scripts/config_docs.py")
            stale = 1
    return stale


def config_schema() -> Tree:
    """Return the JSON schema of the configuration with one description per key."""
    schema = TypeAdapter(Config).json_schema()
    for key, node in schema["properties"].items():  # pydantic drops one that repeats the class's
        node.setdefault("description", find(schema, (key,)).get("description"))
    for node in schema["$defs"].values():
        node.pop("description", None)
    return schema


def page() -> str:
    """Return the documentation of every setting as Markdown."""
    schema = config_schema()
    sections = [part for key in schema["properties"] for part in section(schema, (key,))]
    sensor = TypeAdapter(SensorConfig).json_schema()
    mount = find(sensor, ("mounts", 0))
    return "\n".join([HEAD, *sections, SENSOR_HEAD, table(sensor), MOUNT_HEAD, table(mount)])


def section(schema: Tree, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the heading, text and table of a part of the configuration, then those of its parts.

    Args:
        schema: JSON schema of the whole configuration.
        path: Keys that lead to the part, a mapping or a list of mappings.
    """
    about = find(schema, path[:-1])["properties"][path[-1]]
    node = find(schema, path)
    is_list = node.get("type") == "array"
    node = find(schema, (*path, 0)) if is_list else node
    yield f"{'#' * (len(path) + 1)} `{'.'.join(path)}`\n"
    yield about["description"] + "\n"
    if is_list:
        tree = {path[-1]: about["default"]}
        default = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=100)
        yield f"A list; each entry has the keys below. Default:\n\n```yaml\n{default}```\n"
    yield table(node)
    for key, child in node["properties"].items():
        if is_section(child):
            yield from section(schema, (*path, key))


def is_section(node: Tree) -> bool:
    """Return whether a value is a list of mappings, which has a section of its own."""
    return "$ref" in node.get("items", {})


def table(node: Tree) -> str:
    """Return a Markdown table of the keys of a mapping, given its JSON schema."""
    rows = [("key", "value", "default", "meaning"), ("---",) * 4]
    for key, child in node["properties"].items():
        default = f"`{flow(child['default'])}`" if "default" in child else "required"
        if is_section(child):
            default = "see below"
        allowed = describe(child).removeprefix("a ").removeprefix("an ")
        rows.append((f"`{key}`", allowed, default, " ".join(child["description"].split())))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def editor_schema() -> Tree:
    """Return a JSON schema for configuration files, which may leave out any key."""
    schema = simplified(config_schema())
    draft = "http://json-schema.org/draft-07/schema#"  # what editors know best
    return {"$schema": draft, **schema, "title": "Configuration of bev_instseg"}


def simplified(node: Any) -> Any:
    """Return a JSON schema of draft 7 without titles and required keys, descriptions cut short."""
    if isinstance(node, list):
        return [simplified(item) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(text := node.get("description"), str):
        node = {**node, "description": " ".join(text.partition("\n\n")[0].split())}
    if "prefixItems" in node:  # all entries of a list of fixed length are alike
        node = {"items": node["prefixItems"][0], **node}
    dropped = {"title", "required", "prefixItems"}
    return {key: simplified(value) for key, value in node.items() if key not in dropped}


if __name__ == "__main__":
    sys.exit(main())
