"""Instances -> the ``.json`` file: what was found, object by object."""

import json
from collections.abc import Mapping
from typing import Any

from bev_instseg.export.points import MARK
from bev_instseg.structures import Instances


def instances_to_dict(instances: Instances, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What the ``.json`` file holds: ``about``, ``extra``, then what `read_instances` needs.

    ``about`` tells this package's files from others. The last are ``num_points`` of the sweep,
    ``class_names``, and ``instances`` by falling score. Metres are rounded to a millimetre, scores
    and radians to 1e-4. Instance ``id`` is the number in ``Instances.labels`` and in the high 16
    bits of the ``.label`` file; the box is centred on ``centre_m`` and ``yaw_rad`` is the heading
    of its length.

    Args:
        instances: the objects of a sweep.
        extra: more top-level entries (grid, weights, timing); anything JSON can hold.

    Raises:
        ValueError: if ``extra`` has one of these entries and it says something else.
    """
    objects = []
    for k, num_points in enumerate(instances.num_points.tolist()):
        *metres, yaw_rad = instances.boxes[k].tolist()
        centre, size = ([round(v, 3) for v in part] for part in (metres[:3], metres[3:]))
        objects.append(
            {
                "id": k + 1,
                "class": instances.class_names[instances.classes[k]],
                "score": round(float(instances.scores[k]), 4),
                "num_points": num_points,
                "centre_m": centre,
                "box": {
                    "length_m": size[0],
                    "width_m": size[1],
                    "height_m": size[2],
                    "yaw_rad": round(yaw_rad, 4),
                },
            }
        )
    head = {"about": MARK}
    own = {
        "num_points": len(instances.labels),
        "class_names": list(instances.class_names),
        "instances": objects,
    }
    for key, value in (head | own).items():
        if key in extra and extra[key] != value:
            raise ValueError(f"extra has an entry '{key}' that is not that of the instances")
    return {**head, **extra, **own}


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """The bytes of a ``.json`` file, the same for the same input.

    Raises:
        ValueError: a number that is not finite (not valid JSON).
        TypeError: what JSON cannot hold.
    """
    return (json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
