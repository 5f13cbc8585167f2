# pyright: basic, reportMissingImports=false

"""mettler_toledo_device 1.5.0 (Janelia) weighs: their_mettler_toledo_device.py /dev/pts/N.

Worked around: it sleeps 2 s after opening, and waits 0.05 s for a line, which a loaded machine
may miss; and without pkg_resources, which setuptools no longer has, it cannot be imported. What a
balance says when it is switched on it takes for its first answer, and is out of step from then on.
"""

import sys
import types


class MissingError(Exception):
    pass


def get_distribution(_name):
    raise MissingError


missing = types.ModuleType("pkg_resources")
vars(missing).update(get_distribution=get_distribution, DistributionNotFound=MissingError)
sys.modules["pkg_resources"] = missing

from mettler_toledo_device import MettlerToledoDevice  # noqa: E402

MettlerToledoDevice._RESET_DELAY = 0.1
MettlerToledoDevice._TIMEOUT = 2.0
balance = MettlerToledoDevice(port=sys.argv[1])
balance._serial_device.reset_input_buffer()
print("serial", balance.get_serial_number())
print("data", balance.get_balance_data())
print("software", balance.get_software_version())
print("level", balance.get_mtsics_level())
print("stable", balance.get_weight_stable())
print("now", balance.get_weight())
print("zero", balance.zero_stable())
balance.reset()
