"""Types of ROS 2 messages for ``cyclonedds``, made from the definitions in ``rosbags``."""

from functools import cache
from importlib import import_module
from typing import Any

from rosbags.interfaces import Nodetype

from bev_instseg.export.ros_messages import message_types


def dds_name(kind: str) -> str:
    """Return the DDS name of a ROS 2 type."""
    package, _, name = kind.split("/")
    return f"{package}::msg::dds_::{name}_"


class _Serialised:
    """A sample that is passed on in serialised form, without parsing its fields."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self, use_version_2: bool | None = None) -> bytes:
        return self.data

    @classmethod
    def deserialize(cls, data: bytes) -> "_Serialised":
        return cls(data)

    @classmethod
    def deserialize_key(cls, data: bytes) -> "_Serialised":  # called when a publisher leaves
        return cls(b"")


@cache
def topic_type(kind: str) -> Any:
    """Return the type for a topic: its fields are described, but its samples stay serialised."""
    made = _described(kind)
    for name in ("__init__", "serialize", "deserialize", "deserialize_key"):
        setattr(made, name, _Serialised.__dict__[name])
    return made


def _described(kind: str) -> Any:
    """Return the IDL type of a ROS 2 message, made from its definition."""
    _, fields = message_types().fielddefs[kind]
    make = import_module("cyclonedds.idl").make_idl_struct
    types = {name: _field_type(node) for name, node in fields}
    return make(kind.rpartition("/")[2], dds_name(kind), types, dataclassify=False)


def _field_type(node: Any) -> Any:
    """Return the IDL type of a field; see the field definitions of ``rosbags``."""
    idl = import_module("cyclonedds.idl.types")
    shape, about = node
    if shape == Nodetype.NAME:
        return _described(about)
    if shape == Nodetype.BASE:
        name = about[0]
        return {"bool": bool, "string": str}.get(name) or getattr(idl, name)
    inner = _field_type(about[0])
    return idl.array[inner, about[1]] if shape == Nodetype.ARRAY else idl.sequence[inner]
