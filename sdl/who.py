"""Who gives an order from this terminal, as the record names them."""

import getpass
import os
import socket


def operator() -> str:
    """`user@host`; the user's number where the system has no name for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"
