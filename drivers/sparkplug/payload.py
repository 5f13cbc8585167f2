"""Sparkplug B payloads: bytes to values and back, by hand.

Source: Eclipse Sparkplug 3.0.0, chapter 6 ("Payloads"), and the schema in it (sparkplug_b.proto);
encoding: protobuf.dev, "Encoding". A payload is a time, a sequence number and metrics; of a metric
eight fields and one of seven kinds of scalars matter. That is little enough to need no library, and
a decoder of our own can be strict: Google's takes whatever can be read in any way.

Not read: data sets, templates, arrays, properties, meta data; a metric with such a value has none.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sdl.errors import ConfigError, GarbledError

Scalar = bool | int | float | str | bytes

INTEGERS: Mapping[int, tuple[int, bool]] = {  # by datatype: bits, and whether there is a sign
    1: (8, True),
    2: (16, True),
    3: (32, True),
    4: (64, True),
    5: (8, False),
    6: (16, False),
    7: (32, False),
    8: (64, False),
    13: (64, False),
}
FLOAT, DOUBLE, BOOLEAN, DATETIME = 9, 10, 11, 13
TEXTS, BINARIES = (12, 14, 15), (17, 18)
MOST_SEQ = 255

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
INT, LONG, FLOATS, DOUBLES, TRUTH, TEXT, BYTES = range(10, 17)  # fields of the value
WIRE_TYPES = {
    INT: VARINT,
    LONG: VARINT,
    FLOATS: FIXED32,
    DOUBLES: FIXED64,
    TRUTH: VARINT,
    TEXT: LENGTH,
    BYTES: LENGTH,
}


class Raw(NamedTuple):
    """A value as it stands there: in which field, and as what."""

    field: int
    value: Scalar


@dataclass(frozen=True)
class Metric:
    """One metric of a payload; what it does not say is None."""

    name: str | None = None
    alias: int | None = None
    datatype: int | None = None
    is_historical: bool = False
    is_null: bool = False
    raw: Raw | None = None


@dataclass(frozen=True)
class Payload:
    """A payload; what it does not say is None."""

    timestamp: int | None
    """ms since 1970"""
    seq: int | None
    metrics: Sequence[Metric]

    def value_of(self, name: str) -> Metric | None:
        """Return the metric of that name."""
        return next((each for each in self.metrics if each.name == name), None)


class _Field(NamedTuple):
    number: int
    wire_type: int
    value: int | bytes


def parse_payload(topic: str, data: bytes) -> Payload:
    """Decode a payload.

    :raises GarbledError: it is none.
    """
    try:
        return _payload(data)
    except (ValueError, IndexError) as error:
        raise GarbledError(topic, f"no Sparkplug payload: {error}: {data[:100].hex()}") from error


def _payload(data: bytes) -> Payload:
    timestamp = seq = None
    metrics = []
    for field in _fields(data):
        match field.number:
            case 1:
                timestamp = _varint(field)
            case 2:
                metrics.append(_metric(_bytes(field)))
            case 3:
                seq = _varint(field)
                if seq > MOST_SEQ:
                    raise ValueError(f"sequence number {seq}")
    return Payload(timestamp, seq, tuple(metrics))


def _metric(data: bytes) -> Metric:
    found: dict[str, object] = {}
    for field in _fields(data):
        match field.number:
            case 1:
                found["name"] = _bytes(field).decode()
            case 2:
                found["alias"] = _varint(field)
            case 4:
                found["datatype"] = _varint(field)
            case 5:
                found["is_historical"] = bool(_varint(field))
            case 7:
                found["is_null"] = bool(_varint(field))
            case number if number in WIRE_TYPES:
                found["raw"] = _raw(field)
    return Metric(**found)  # type: ignore[arg-type]


def _raw(field: _Field) -> Raw:
    kind = WIRE_TYPES[field.number]
    if field.wire_type != kind:
        raise ValueError(f"a value of wire type {field.wire_type} in field {field.number}")
    value = field.value
    if kind == VARINT:
        assert isinstance(value, int)
        if value >= (1 << 32 if field.number == INT else 2 if field.number == TRUTH else 1 << 64):
            raise ValueError(f"{value} in field {field.number}")
        return Raw(field.number, bool(value) if field.number == TRUTH else value)
    assert isinstance(value, bytes)
    if kind == FIXED32:
        return Raw(field.number, struct.unpack("<f", value)[0])
    if kind == FIXED64:
        return Raw(field.number, struct.unpack("<d", value)[0])
    return Raw(field.number, value.decode() if field.number == TEXT else value)


def _fields(data: bytes) -> Iterator[_Field]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field with number 0")
        if wire_type == VARINT:
            value, at = _read_varint(data, at)
            yield _Field(number, wire_type, value)
            continue
        if wire_type == LENGTH:
            length, at = _read_varint(data, at)
        elif wire_type in (FIXED32, FIXED64):
            length = 4 if wire_type == FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire_type}")
        if at + length > len(data):
            raise ValueError(f"field {number} is cut off")
        yield _Field(number, wire_type, data[at : at + length])
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]  # IndexError: cut off
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise ValueError("a number of more than 64 bits")


def _varint(field: _Field) -> int:
    if field.wire_type != VARINT or not isinstance(field.value, int):
        raise ValueError(f"field {field.number} is no number")
    return field.value


def _bytes(field: _Field) -> bytes:
    if field.wire_type != LENGTH or not isinstance(field.value, bytes):
        raise ValueError(f"field {field.number} is no text, and no message")
    return field.value


# Values


def parse_value(topic: str, metric: Metric, datatype: int) -> Scalar | None:
    """Return the value of a metric that was born with that datatype; None if it says null.

    Negative numbers come in as many bits as the type has, or in 32: both are in use.

    :raises GarbledError: it has no value, or none of that type.
    """
    if metric.is_null:
        return None
    raw = metric.raw
    value = None if raw is None else _typed(raw, datatype)
    if value is None:
        what = metric.name or f"alias {metric.alias}"
        raise GarbledError(topic, f"{what}: {raw} is no value of datatype {datatype}")
    return value


def _typed(raw: Raw, datatype: int) -> Scalar | None:
    field, value = raw
    if datatype in INTEGERS and field in (INT, LONG) and isinstance(value, int):
        return _integer(value, *INTEGERS[datatype], carried=32 if field == INT else 64)
    kinds: Mapping[int, tuple[int, ...]] = {
        FLOATS: (FLOAT,),
        DOUBLES: (DOUBLE,),
        TRUTH: (BOOLEAN,),
        TEXT: TEXTS,
        BYTES: BINARIES,
    }
    return value if datatype in kinds.get(field, ()) else None


def _integer(value: int, bits: int, signed: bool, carried: int) -> int | None:
    if not signed:
        return value if value < 1 << bits else None
    half = 1 << (bits - 1)
    if value < 1 << bits:
        return value - (1 << bits) if value >= half else value
    wide = value - (1 << carried)
    return wide if -half <= wide < 0 else None


def rounded(value: Scalar, datatype: int) -> Scalar:
    """Return what becomes of a value when it is sent as that datatype.

    :raises ConfigError: it cannot be sent so.
    """
    ours = value
    if datatype in (FLOAT, DOUBLE) and isinstance(value, int | float):
        ours = float(value)
        if datatype == FLOAT and math.isfinite(ours) and abs(ours) < 3.4e38:
            ours = struct.unpack("<f", struct.pack("<f", ours))[0]
        return ours
    if datatype in INTEGERS and isinstance(value, int | float) and not isinstance(value, bool):
        bits, signed = INTEGERS[datatype]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if value == int(value) and low <= value <= high:
            return int(value)
    elif (datatype == BOOLEAN and isinstance(value, bool)) or (
        datatype in TEXTS and isinstance(value, str)
    ):
        return value
    raise ConfigError(f"{value!r} cannot be sent as Sparkplug datatype {datatype}")


def encode_command(
    timestamp: int, value: Scalar, datatype: int, *, name: str | None, alias: int | None = None
) -> bytes:
    """Return a command that writes one metric: by its alias if it has one, else by its name.

    :raises ConfigError: the value is none of that datatype.
    """
    value = rounded(value, datatype)
    who = _tagged(2, VARINT, _varint_of(alias)) if alias is not None else _sized(1, name or "")
    metric = who + _tagged(3, VARINT, _varint_of(timestamp))
    metric += _tagged(4, VARINT, _varint_of(datatype)) + _valued(value, datatype)
    return _tagged(1, VARINT, _varint_of(timestamp)) + _sized(2, metric)


def _valued(value: Scalar, datatype: int) -> bytes:
    if isinstance(value, bool):
        return _tagged(TRUTH, VARINT, _varint_of(int(value)))
    if datatype == FLOAT:
        return _tagged(FLOATS, FIXED32, struct.pack("<f", value))
    if datatype == DOUBLE:
        return _tagged(DOUBLES, FIXED64, struct.pack("<d", value))
    if isinstance(value, int):
        bits, _ = INTEGERS[datatype]
        return _tagged(LONG if bits == 64 else INT, VARINT, _varint_of(value % (1 << bits)))
    assert isinstance(value, str)
    return _sized(TEXT, value)


def _tagged(number: int, wire_type: int, data: bytes) -> bytes:
    return _varint_of(number << 3 | wire_type) + data


def _sized(number: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return _tagged(number, LENGTH, _varint_of(len(data)) + data)


def _varint_of(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
