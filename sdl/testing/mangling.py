"""Damage: bytes as no instrument and no driver would send them, from bytes that they do send.

All chance comes from a `random.Random` that the caller has seeded: the same seed, the same damage.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NUMBERS = (
    b"0",
    b"-1",
    b"65536",
    b"4294967296",
    b"99999999999999999999",
    b"1e309",
    b"nan",
    b".",
    b"",
)
RANDOM_BYTES = 24  # at most, of those that come from nowhere
NUMBER = re.compile(rb"\d+")


@dataclass(frozen=True)
class Check:
    """A protocol's checksum, without which damage can be noticed by its consequences only."""

    valid: Callable[[bytes], bool]
    """Whether a frame has the right one."""

    fix: Callable[[bytes], bytes]
    """Give a frame the right one, so that damage in it reaches what is behind the check."""

    def holds_within(self, data: bytes) -> bool:
        """Whether a valid frame is anywhere in it."""
        ends = range(3, len(data) + 1)
        return any(self.valid(data[begin:end]) for end in ends for begin in range(end - 2))


def mangled(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Return it with one damage, which may be none by chance.

    :param others: what else was said, to be spliced in.
    """
    return _WAYS[rng.randrange(len(_WAYS))](data, rng, others)


def is_substitution(before: bytes, after: bytes) -> bool:
    """Whether only printable characters were turned into others: a format cannot show that."""
    if len(before) != len(after):
        return False
    pairs = zip(before, after, strict=True)
    return all(old == new or (32 <= old < 127 and 32 <= new < 127) for old, new in pairs)


def _bit(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _byte(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + rng.randbytes(1) + data[at + 1 :]


def _delete(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + 1 + (rng.random() < 0.2) :]


def _insert(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    new = rng.randbytes(1) if rng.random() < 0.5 else b"0123456789.-+ \r\n"[rng.randrange(16) :][:1]
    return data[:at] + new + data[at:]


def _truncate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _behead(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def _double(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data + data if rng.random() < 0.5 else data[:at] + data[max(at - 1, 0) :]


def _splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = others[rng.randrange(len(others))] if others else data
    at, there = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    return data[:at] + other[there:] if rng.random() < 0.8 else other + data


def _number(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    found = list(NUMBER.finditer(data))
    if not found:
        return data
    where = found[rng.randrange(len(found))]
    return data[: where.start()] + NUMBERS[rng.randrange(len(NUMBERS))] + data[where.end() :]


def _random(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.randrange(RANDOM_BYTES))


def _empty(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return b""


_WAYS = (_bit, _bit, _byte, _delete, _delete, _insert, _truncate, _behead, _double, _splice)
_WAYS += (_number, _random, _empty)
