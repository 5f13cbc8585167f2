# pyright: basic, reportMissingImports=false

"""matterlab-hotplates 1.2.1 drives a plate: their_matterlab_hotplates.py /dev/pts/N.

Their pauses of 1 s are made shorter; 8N1, since pseudo-terminals know no 7E1.
"""

import sys
import time

from matterlab_hotplates import IKAHotplate

sleep = time.sleep
time.sleep = lambda seconds: sleep(min(float(seconds), 0.12))
plate = IKAHotplate(sys.argv[1], bytesize=8, parity="none")
plate.temp = 45.0
plate.rpm = 300
sleep(1.0)
print("temp", plate.temp)
print("rpm", plate.rpm)
plate.stand_by()
