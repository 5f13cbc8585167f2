# pyright: basic, reportMissingImports=false

"""PyMeasure, keithley2400 and bare PyVISA drive an instrument of ours, with 1 kohm on it.

their_keithley.py pymeasure|keithley2400|visa2450 RESOURCE
"""

import json
import sys

import pyvisa


def pymeasure(resource: str) -> dict:
    from pymeasure.instruments.keithley import Keithley2400

    meter = Keithley2400(
        resource, visa_library="@py", timeout=3000, read_termination="\r", write_termination="\r"
    )
    meter.reset()
    meter.reset_data_format()
    said = {"id": meter.id, "mode": meter.source_mode}
    meter.source_mode = "voltage"
    meter.source_voltage_range = 2
    meter.compliance_current = 0.01
    meter.source_voltage = 0.5
    meter.current_nplc = 0.1
    meter.enable_source()
    said["current"], said["voltage"] = meter.current, meter.voltage
    said["resistance"] = meter.resistance
    meter.ramp_to_voltage(1.5, steps=3, pause=0.0)
    said["ramped"] = meter.source_voltage
    meter.config_buffer(points=5)
    meter.start_buffer()
    meter.wait_for_buffer(timeout=5, interval=0.02)
    said["buffer"] = len(meter.buffer_data)
    said["mean_current"] = meter.mean_current
    meter.write(":NONSENSE 5")
    said["errors"] = [list(map(str, error)) for error in meter.check_errors()]
    meter.disable_source()
    said["enabled"] = meter.source_enabled
    meter.adapter.close()
    return said


def keithley2400(resource: str) -> dict:
    from keithley2400 import Keithley2400

    with Keithley2400(resource, auto_discover=False) as meter:
        said = {"model": meter.model}
        meter.set_current_compliance(0.01)
        meter.configure_measure_vi()
        meter.set_source_v(0.25)
        meter.output_on()
        said["volts"], said["amps"] = meter.read_v_i()
        said["sweep"] = [
            row[:2]
            for row in meter.sweep_iv([0.1, 0.2], stabilize_s=0, n_samples=2, sample_delay_s=0)
        ]
        said["error"] = meter.get_error()
    return said


def visa2450(resource: str) -> dict:
    meter = pyvisa.ResourceManager("@py").open_resource(resource)
    meter.read_termination = meter.write_termination = "\n"
    meter.timeout = 3000
    said = {"id": meter.query("*IDN?"), "language": meter.query("*LANG?")}
    for command in ("*RST", ":SOUR:CURR:VLIM 5", "SOUR:FUNC CURR", "SOUR:CURR 0.002", "OUTP ON"):
        meter.write(command)
    meter.write(":SENS:FUNC 'VOLT'")
    said["pair"] = meter.query_ascii_values(':READ? "defbuffer1", SOUR, READ')
    meter.write(":SENS:FUNC 'CURR';:SOUR:VOLT:ILIM 0.01")
    meter.write(":SOUR:SWE:VOLT:LIN 0, 1, 5; :INIT; *WAI; :OUTP OFF")
    said["sweep"] = meter.query_ascii_values(':TRAC:DATA? 1, 5, "defbuffer1", SOUR, READ')
    said["events"] = int(meter.query("*ESR?")) & 0x3C
    meter.close()
    return said


print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
