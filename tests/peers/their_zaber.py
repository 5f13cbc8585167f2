"""zaber-motion 10.2.0 (TCP) or zaber.serial 0.9.1 (serial) drives a stage; prints what it read."""
# pyright: basic, reportMissingImports=false

import json
import sys


def motion(port):
    from zaber_motion.ascii import Connection
    from zaber_motion.exceptions import BadDataException, CommandFailedException

    with Connection.open_tcp("127.0.0.1", int(port)) as connection:
        connection.enable_alerts()
        # to identify devices it asks a server on the internet
        (device,) = connection.detect_devices(identify_devices=False)
        axis = device.get_axis(1)
        read = [sorted(axis.warnings.get_flags())]
        axis.home()
        axis.move_absolute(40000)
        axis.move_relative(-10000)
        read += [axis.get_position(), axis.is_homed(), axis.is_busy()]
        axis.move_velocity(50000)
        axis.stop()
        for refused in (lambda: axis.move_absolute(10**9), lambda: moved_when_parked(axis)):
            try:
                refused()
            except (BadDataException, CommandFailedException) as error:
                read.append(error.details.response_data)
        axis.settings.set("maxspeed", 100000)
        read.append(axis.settings.get("maxspeed"))
        read.append(device.generic_command("get system.serial").data)
        return read


def moved_when_parked(axis):
    axis.park()
    try:
        axis.move_absolute(10)
    finally:
        axis.unpark()


def serial(port):
    from zaber.serial import AsciiDevice, AsciiSerial

    with AsciiSerial(port, 115200) as line:
        axis = AsciiDevice(line, 1).axis(1)
        axis.home()
        axis.move_abs(20000)
        moved = axis.get_position()
        axis.move_rel(-5000)
        axis.stop()
        refused = axis.send("move abs 99999999")
        return [moved, axis.get_position(), axis.get_status(), refused.reply_flag, refused.data]


kind, port = sys.argv[1:]
sys.stdout.write(json.dumps({"motion": motion, "serial": serial}[kind](port)))
