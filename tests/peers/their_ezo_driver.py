# pyright: basic, reportMissingImports=false

"""ezo-driver 0.8.0 (C with Python bindings) reads pH: their_ezo_driver.py /dev/pts/N."""

import sys
import time

from ezo_driver import LinuxUARTDevice, ProductId, control, ph

probe = LinuxUARTDevice(sys.argv[1], 9600, 2000)
device = getattr(probe, "_cdev", probe)


def ask(send, *arguments):
    send(*arguments)
    time.sleep(0.05)


device.send_command("C,0")
time.sleep(0.3)
device.discard_input()
ask(control.send_info_query_uart, probe, ProductId.PH)
print("info", control.read_info_uart(probe))
device.discard_input()
ask(ph.send_temperature_set_uart, probe, 25.0)
device.read_ok()
ask(ph.send_read_uart, probe)
print("reading", ph.read_response_uart(probe))
device.discard_input()
ask(ph.send_read_with_temp_comp_uart, probe, 25.0)
print("compensated", ph.read_response_with_temp_comp_uart(probe))
device.discard_input()
ask(ph.send_calibration_query_uart, probe)
print("calibration", ph.read_calibration_status_uart(probe))
device.discard_input()
ask(ph.send_slope_query_uart, probe)
print("slope", ph.read_slope_uart(probe))
probe.close() if hasattr(probe, "close") else device.close()
