"""The bytes of Sparkplug B payloads, as tables: sparkplug_b.proto in Eclipse Sparkplug 3.0.0, 6.

Encoding: protobuf.dev, "Encoding". Messages are dictionaries here; a repeated field is a list.
"""

import struct
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, tuple[int, str, "Schema | None"]]

METRIC: Schema = {
    "name": (1, "string", None),
    "alias": (2, "varint", None),
    "timestamp": (3, "varint", None),
    "datatype": (4, "varint", None),
    "is_historical": (5, "varint", None),
    "is_transient": (6, "varint", None),
    "is_null": (7, "varint", None),
    "int_value": (10, "varint", None),
    "long_value": (11, "varint", None),
    "float_value": (12, "float", None),
    "double_value": (13, "double", None),
    "boolean_value": (14, "varint", None),
    "string_value": (15, "string", None),
    "bytes_value": (16, "bytes", None),
}
PAYLOAD: Schema = {
    "timestamp": (1, "varint", None),
    "metrics": (2, "repeated", METRIC),
    "seq": (3, "varint", None),
    "uuid": (4, "string", None),
    "body": (5, "bytes", None),
}
WIRE = {"varint": 0, "double": 1, "string": 2, "bytes": 2, "repeated": 2, "float": 5}

DATATYPES: Mapping[str, tuple[int, str, int]] = {  # code, field, bits of an integer
    "Int8": (1, "int_value", 8),
    "Int16": (2, "int_value", 16),
    "Int32": (3, "int_value", 32),
    "Int64": (4, "long_value", 64),
    "UInt8": (5, "int_value", 8),
    "UInt16": (6, "int_value", 16),
    "UInt32": (7, "int_value", 32),
    "UInt64": (8, "long_value", 64),
    "Float": (9, "float_value", 0),
    "Double": (10, "double_value", 0),
    "Boolean": (11, "boolean_value", 0),
    "String": (12, "string_value", 0),
    "DateTime": (13, "long_value", 64),
    "Text": (14, "string_value", 0),
    "UUID": (15, "string_value", 0),
    "Bytes": (17, "bytes_value", 0),
}


def encode(message: Mapping[str, Any], schema: Schema = PAYLOAD) -> bytes:
    """Return the bytes of a message; fields in the schema's order."""
    out = b""
    for name, (number, kind, inner) in schema.items():
        if name not in message:
            continue
        values = message[name] if kind == "repeated" else [message[name]]
        for value in values:
            out += _varint(number << 3 | WIRE[kind]) + _field(value, kind, inner)
    return out


def _field(value: Any, kind: str, inner: Schema | None) -> bytes:
    if kind == "varint":
        return _varint(int(value))
    if kind in ("float", "double"):
        return struct.pack("<f" if kind == "float" else "<d", value)
    data = encode(value, inner) if inner is not None else value
    data = data.encode() if isinstance(data, str) else data
    return _varint(len(data)) + data


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def decode(data: bytes, schema: Schema = PAYLOAD) -> dict[str, Any]:
    """Return what a message says; fields that are not in the schema are passed over.

    :raises ValueError: it is none.
    """
    by_number = {number: (name, kind, inner) for name, (number, kind, inner) in schema.items()}
    found: dict[str, Any] = {}
    rest = memoryview(data)
    while rest:
        tag, rest = _take_varint(rest)
        value, rest = _take_field(tag & 7, rest)
        name, kind, inner = by_number.get(tag >> 3, ("", "", None))
        if not name:
            continue
        if WIRE[kind] != tag & 7:
            raise ValueError(f"{name} has wire type {tag & 7}")
        if kind == "repeated":
            assert inner is not None
            found.setdefault(name, []).append(decode(bytes(value), inner))
        else:
            found[name] = _read(value, kind)
    return found


def _take_field(wire_type: int, rest: memoryview) -> tuple[Any, memoryview]:
    if wire_type == 0:
        return _take_varint(rest)
    if wire_type == 2:
        length, rest = _take_varint(rest)
    elif wire_type in (1, 5):
        length = 8 if wire_type == 1 else 4
    else:
        raise ValueError(f"wire type {wire_type}")
    if length > len(rest):
        raise ValueError("it is cut off")
    return rest[:length], rest[length:]


def _take_varint(rest: memoryview) -> tuple[int, memoryview]:
    for used in range(1, 11):
        if used > len(rest):
            break
        if rest[used - 1] < 0x80:
            digits = [byte & 0x7F for byte in rest[:used]]
            return sum(digit << 7 * at for at, digit in enumerate(digits)), rest[used:]
    raise ValueError("a number without an end")


def _read(value: Any, kind: str) -> Any:
    if kind == "varint":
        return value
    if kind in ("float", "double"):
        return struct.unpack("<f" if kind == "float" else "<d", value)[0]
    return bytes(value).decode() if kind == "string" else bytes(value)


def with_value(metric: Mapping[str, Any], value: Any, datatype: str) -> dict[str, Any]:
    """Return a metric with its value, in the field that its datatype has."""
    _, field, bits = DATATYPES[datatype]
    return {**metric, field: int(value) % (1 << bits) if bits else value}


def value_of(metric: Mapping[str, Any], datatype: str) -> Any:
    """Return the value of a metric.

    :raises ValueError: it has none of that datatype.
    """
    _, field, bits = DATATYPES[datatype]
    if field not in metric:
        raise ValueError(f"no {field}")
    value = metric[field]
    if field == "boolean_value":
        return bool(value)
    if bits and value >= 1 << bits:
        raise ValueError(f"{value} is no {datatype}")
    signed = datatype.startswith("Int")
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value
