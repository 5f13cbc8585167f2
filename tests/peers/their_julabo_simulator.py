# pyright: basic, reportMissingImports=false

"""The circulator of julabo 2.3.0 on sinstruments 1.5.0, until stdin ends; prints its port.

It begins in manual operation, but obeys all the same; here it begins as a person leaves one that is
to be controlled.
"""

import sys

import gevent
from gevent.fileobject import FileObject
from sinstruments.simulator import create_server_from_config

server = create_server_from_config(
    {
        "devices": [
            {
                "class": "JulaboCF",
                "package": "julabo.simulator",
                "name": "bath",
                "STATUS": "02 REMOTE STOP",
                "transports": [{"type": "tcp", "url": "127.0.0.1:0"}],
            }
        ]
    }
)
(transport,) = server.devices["bath"].transports
transport.start()
print(transport.server_port, flush=True)
gevent.spawn(FileObject(sys.stdin.fileno(), "rb").read).join()
