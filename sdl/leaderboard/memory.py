"""The most memory that this process held at once."""

import sys
from pathlib import Path

MB = 1024 * 1024
_OWN = Path("/proc/self")


def forget_peak() -> bool:
    """Begin anew with counting; False where no peak can be told.

    On Linux the kernel forgets the peak; elsewhere it counts from the start of the process.
    """
    if sys.platform == "win32":
        return False
    if _OWN.is_dir():
        try:
            (_OWN / "clear_refs").write_text("5")
        except OSError:
            return False  # a sandbox forbids it: the peak would be that of other jobs too
    return True


def peak() -> float:
    """Return the largest resident set since then, in MB (1024 x 1024 bytes)."""
    import resource

    status = _OWN / "status"
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (MB if sys.platform == "darwin" else 1024)
