# pyright: basic, reportMissingImports=false
"""PalmSens' own code, as PyPI has it.

    their_palmsens.py instrument PORT     the Python example of PalmSens (in hardpotato 1.3.13)
    their_palmsens.py grammar SCRIPT…     which scripts the grammar of PyPalmSens does not take

Only the modules that are wanted are loaded: the packages themselves want matplotlib, and .NET.
"""

import importlib.util
import json
import sys
import types


def only(package):
    """Let modules of a package be imported without what the package itself imports."""
    found = importlib.util.find_spec(package)
    assert found is not None
    module = types.ModuleType(package)
    module.__path__ = list(found.submodule_search_locations or [])
    sys.modules[package] = module


def columns(mscript, lines, count):
    curves = mscript.parse_result_lines(lines)
    return [[list(mscript.get_values_by_column([c], i)) for i in range(count)] for c in curves]


def instrument(port):
    only("hardpotato")
    from hardpotato import emstatpico, pico_instrument, pico_mscript, pico_serial

    said = {}
    with pico_serial.Serial(port, 1) as line:
        pico = pico_instrument.Instrument(line)
        pico.abort_and_sync()
        said["type"] = pico.get_device_type()
        said["firmware"] = pico.get_firmware_version()
        said["serial"] = pico.get_serial_number()

        def run(technique, count):
            pico.write(technique.text)
            first = pico.readline()
            lines = pico.readlines_until_end()
            assert first == "e\n", (first, lines)
            return columns(pico_mscript, lines, count)

        nowhere = {"folder": ".", "fileName": "", "header": ""}
        lsv = emstatpico.LSV(0.0, 0.1, 1.0, 0.01, 1e-3, **nowhere)
        said["lsv"] = run(lsv, 3)
        said["cv"] = run(emstatpico.CV(0.0, 0.05, -0.05, 0.0, 1.0, 0.01, 3, 1e-3, **nowhere), 3)
        said["ca"] = run(emstatpico.CA(0.5, 0.05, 0.5, 1e-3, **nowhere), 3)
        said["ocp"] = run(emstatpico.OCP(0.5, 0.1, **nowhere), 2)
        long = emstatpico.CA(0.5, 0.1, 600.0, 1e-3, **nowhere)
        pico.write(long.text)
        for _ in range(4):
            pico.readline()
        pico.abort_and_sync()
        said["serial again"] = pico.get_serial_number()
    return said


def grammar(*scripts):
    only("pypalmsens")
    from pypalmsens._methodscript import validate

    wrong = []
    for script in scripts:
        try:
            validate(script)
        except SyntaxError as error:
            wrong.append(f"{script}: {error}")
    return wrong


sys.stdout, out = sys.stderr, sys.stdout  # theirs prints
said = {"instrument": instrument, "grammar": grammar}[sys.argv[1]](*sys.argv[2:])
print(json.dumps(said), file=out)
