# pyright: basic, reportMissingImports=false

"""SartoriUSB 0.2.5 weighs on a pseudo-terminal: their_sartoriusb.py /dev/pts/N."""

import sys

from sartoriusb import CMD_EXPCLICIT_TARA, CMD_INFO_SNR, CMD_INFO_TYPE, SartoriusUsb

with SartoriusUsb(sys.argv[1], timeout=0.3) as scale:
    print("type", scale.get(CMD_INFO_TYPE))
    print("serial", scale.get(CMD_INFO_SNR))
    print("weight", tuple(scale.measure()))
    scale.send(CMD_EXPCLICIT_TARA)
    print("tared", tuple(scale.measure()))
