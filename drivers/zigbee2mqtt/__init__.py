"""Zigbee devices behind Zigbee2MQTT: sensors and plugs."""

from sdl.drivers.zigbee2mqtt.plug import ZigbeePlug
from sdl.drivers.zigbee2mqtt.sensor import ZigbeeSensor

__all__ = ["ZigbeePlug", "ZigbeeSensor"]
