"""The layout for Foxglove shows what a labelled recording holds, with settings that exist."""

import json
from pathlib import Path
from typing import Any

from conftest import ROOT
from test_segment_recordings import messages
from test_track_recordings import run, write_drive

LAYOUT = json.loads((ROOT / "docs" / "foxglove.json").read_text())
# What the open-source panels have (Foxglove Studio 1, Lichtblick): the settings of each kind, and
# the values of those that are a choice; None for any value.
POINT_CLOUD = {
    "visible": (True, False),
    "frameLocked": (True, False),
    "pointSize": None,
    "pointShape": ("circle", "square"),
    "decayTime": None,
    "colorMode": ("flat", "gradient", "colormap", "rgb", "rgba"),
    "flatColor": None,
    "colorField": None,
    "gradient": None,
    "colorMap": ("turbo", "rainbow"),
    "explicitAlpha": None,
    "minValue": None,
    "maxValue": None,
}
MARKERS = {
    "visible": (True, False),
    "color": None,
    "showOutlines": (True, False),
    "selectedIdVariable": None,
    "namespaces": None,
}
GRID = dict.fromkeys(
    ("instanceId", "label", "frameId", "size", "divisions", "lineWidth", "color", "position")
) | {"layerId": ("foxglove.Grid",), "visible": (True, False), "frameLocked": (True, False)}
GRID |= dict.fromkeys(("rotation", "order"))
PANEL_3D = dict.fromkeys(
    ("cameraState", "scene", "transforms", "topics", "layers", "publish", "imageMode", "followTf")
) | {"followMode": ("follow-pose", "follow-position", "follow-none")}
CAMERA = dict.fromkeys(
    ("perspective", "distance", "phi", "thetaOffset", "targetOffset", "target", "fovy", "near")
) | dict.fromkeys(("targetOrientation", "far"))
RAW_MESSAGES = {
    "topicPath": None,
    "diffEnabled": (True, False),
    "diffMethod": ("custom", "previous message"),
    "diffTopicPath": None,
    "showFullMessageForDiff": (True, False),
}


def panel(kind: str) -> dict[str, Any]:
    [found] = [one for name, one in LAYOUT["configById"].items() if name.startswith(f"{kind}!")]
    return dict(found)


def has_settings(config: dict[str, Any], settings: dict[str, Any]) -> None:
    assert config.keys() <= settings.keys()
    for key, value in config.items():
        assert settings[key] is None or value in settings[key], key


def test_every_topic_field_and_namespace_of_the_layout_is_written(
    weights: str, tmp_path: Path
) -> None:
    path, out = write_drive(tmp_path / "in"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "odom") == 0
    written = messages(out / "drive.mcap")
    topics = panel("3D")["topics"]
    assert {*topics, panel("RawMessages")["topicPath"]} <= written.keys()
    cloud = written["/bev_instseg/points"][0]
    assert topics["/bev_instseg/points"]["colorField"] in {field.name for field in cloud.fields}
    spaces = {one.ns for array in written["/bev_instseg/markers"] for one in array.markers}
    assert spaces - {""} == set(topics["/bev_instseg/markers"]["namespaces"])


def test_the_layout_has_only_panels_and_settings_that_exist() -> None:
    assert LAYOUT.keys() == {
        *("configById", "globalVariables", "userNodes", "playbackConfig", "layout")
    }
    assert {LAYOUT["layout"]["first"], LAYOUT["layout"]["second"]} == set(LAYOUT["configById"])
    scene = panel("3D")
    has_settings(scene, PANEL_3D)
    has_settings(scene["cameraState"], CAMERA)
    has_settings(scene["topics"]["/bev_instseg/points"], POINT_CLOUD)
    has_settings(scene["topics"]["/bev_instseg/markers"], MARKERS)
    for number, layer in scene["layers"].items():
        has_settings(layer, GRID)
        assert layer["instanceId"] == number
    has_settings(panel("RawMessages"), RAW_MESSAGES)
