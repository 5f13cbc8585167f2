# pyright: basic, reportMissingImports=false

"""ika 2.0.3 (Hein Lab) drives a plate on a pseudo-terminal: their_ika.py /dev/pts/N.

Worked around: pseudo-terminals know no 7E1, so their port is opened as 8N1; `watchdog_mode_2` does
not read the echo of the plate, which would be taken for the next answer.
"""

import sys
import time

import ika.abc
import serial
from ika.magnetic_stirrer import MagneticStirrer

ika.abc.Serial = lambda port, baudrate, *_: serial.Serial(port, baudrate, timeout=2)
plate = MagneticStirrer(sys.argv[1])
plate.set_target_temperature(45)
print("target", plate.target_temperature())
plate.set_target_stir_rate(300)
plate.start_stirring()
plate.start_heating()
before = plate.hotplate_sensor_temperature()
print("safety", plate.hardware_safety_temperature())
print("viscosity", plate.viscosity_trend())
print("wd temperature", plate.set_wd_safety_limit_temperature("30"))
print("wd speed", plate.set_wd_safety_limit_speed(100))
plate.watchdog_mode_2("60")
print("wd echo", plate._ser.readline().strip() or plate._ser.readline().strip())
time.sleep(1.0)
print("stir", plate.stir_rate(), plate.target_stir_rate())
print("warmer", plate.hotplate_sensor_temperature() > before)
try:
    print("name", plate.read_device_name())
except ValueError as error:  # their bug: it compares with the end of line still on
    print("name", error)
plate.stop_heating()
plate.stop_stirring()
