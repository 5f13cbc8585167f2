"""A soft IOC: a motor and a scaler that are not there. `python epics_bench.py`

Records FOREIGN:m1 (motor) and FOREIGN:scaler1 (scaler), as synApps has them, made with `caproto`
and nothing of ours. The counts of channel 2 depend on where the motor stands.
"""
# pyright: basic, reportMissingImports=false

import asyncio
import math
from typing import Any

from caproto import ChannelDouble, ChannelEnum, ChannelInteger, ChannelString
from caproto.ioc_examples.fake_motor_record import FakeMotor
from caproto.server import PVGroup, SubGroup, pvproperty, run

PREFIX = "FOREIGN:"
BEST = 4.0  # mm, where most is counted
CHANNELS = range(1, 33)


class Scaler(PVGroup):
    """What changes of a scaler record; the rest of its fields only stand there."""

    count = pvproperty(value=0, name=".CNT")
    seconds = pvproperty(value=0.0, name=".T")
    clock = pvproperty(value=0.0, name=".S1")
    counts = pvproperty(value=0.0, name=".S2")

    @count.putter
    async def count(self, instance: Any, value: int) -> int:
        """Count, and be through with it before anybody hears that it was written."""
        if value:
            await asyncio.sleep(0.1)
            position = self.parent.motor.motor.field_inst.user_readback_value.value
            await self.seconds.write(0.1)
            await self.clock.write(1e6)
            await self.counts.write(1e4 * math.exp(-((position - BEST) ** 2)))
        return 0


class Bench(PVGroup):
    motor = SubGroup(FakeMotor, velocity=50.0, precision=3, user_limits=(0, 10), prefix="m1")
    scaler = SubGroup(Scaler, prefix="scaler1")


def rest_of_a_scaler(prefix: str) -> dict[str, Any]:
    rest: dict[str, Any] = {f".S{n}": ChannelDouble(value=0.0) for n in CHANNELS if n > 2}
    rest |= {f".NM{n}": ChannelString(value=f"channel {n}") for n in CHANNELS}
    rest |= {f".PR{n}": ChannelDouble(value=0.0) for n in CHANNELS}
    rest |= {f".G{n}": ChannelInteger(value=0) for n in CHANNELS}
    numbers = {
        "DLY": 0.0,
        "DLY1": 0.0,
        "FREQ": 1e7,
        "TP": 0.1,
        "TP1": 0.1,
        "RATE": 1.0,
        "RAT1": 1.0,
    }
    rest |= {f".{name}": ChannelDouble(value=value) for name, value in numbers.items()}
    rest[".CONT"] = ChannelEnum(value=0, enum_strings=["OneShot", "AutoCount"])
    rest[".EGU"] = ChannelString(value="counts")
    return {f"{prefix}{field}": channel for field, channel in rest.items()}


async def ready(_: Any) -> None:
    print("ready", flush=True)  # noqa: T201


if __name__ == "__main__":
    bench = Bench(prefix=PREFIX)
    rest = rest_of_a_scaler(f"{PREFIX}scaler1")
    run({**bench.pvdb, **rest}, interfaces=["127.0.0.1"], startup_hook=ready)
