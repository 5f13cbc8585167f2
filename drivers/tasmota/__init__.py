"""Tasmota boards on a broker: sensors and switches."""

from sdl.drivers.tasmota.sensor import TasmotaSensor
from sdl.drivers.tasmota.switch import TasmotaSwitch

__all__ = ["TasmotaSensor", "TasmotaSwitch"]
