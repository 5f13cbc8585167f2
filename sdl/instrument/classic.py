"""What a twin makes of a classic `ophyd` device: one of the same shape that reaches for nothing.

`ophyd.sim.make_fake_device` alone makes one whose signals have no values and no limits, whose
moves never end and whose triggers never come back.
"""

import math
from typing import Any

from ophyd.device import Device
from ophyd.positioner import PositionerBase
from ophyd.sim import FakeEpicsSignal, make_fake_device
from ophyd.status import DeviceStatus


class _Fake:
    """Its signals are 0 or empty at first and take any value; a trigger is over at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for walk in self.walk_signals(include_lazy=True):  # type: ignore[attr-defined]
            if isinstance(walk.item, FakeEpicsSignal):
                _give_value(walk.item)

    def trigger(self) -> DeviceStatus:
        status = DeviceStatus(self)  # type: ignore[arg-type]
        status.set_finished()
        return status


class _FakePositioner(_Fake):
    """Arrives where it is sent to, at once."""

    def move(
        self, position: Any, wait: bool = True, moved_cb: Any = None, timeout: Any = None
    ) -> Any:
        mover: Any = self
        status = PositionerBase.move(mover, position, moved_cb=moved_cb, timeout=timeout)
        for name in ("user_setpoint", "user_readback", "setpoint", "readback"):
            signal = getattr(self, name, None)
            if isinstance(signal, FakeEpicsSignal):
                signal.sim_put(position)
        mover._set_position(position)  # noqa: SLF001 (what a positioner's own moves do)
        mover._done_moving(success=True)  # noqa: SLF001
        return status


def _give_value(signal: FakeEpicsSignal) -> None:
    if signal.limits is None:
        signal.sim_set_limits((-math.inf, math.inf))
    if signal.get() in (None, "None"):
        signal.sim_put("" if signal.as_string else 0.0)
    signal.as_string = False  # else it never reads what it was set to, if that is a number


def fake(driver: type) -> type:
    """Return a class of the same devices that are connected to nothing and do all at once."""
    faked = make_fake_device(driver)
    if not issubclass(faked, Device):
        return faked
    kind = _FakePositioner if issubclass(faked, PositionerBase) else _Fake
    return type(faked.__name__, (kind, faked), {})
