"""An exclusive lock on an open file, which the operating system frees when the process dies."""

import sys

if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int) -> bool:
        """Take it without waiting; return whether it was free.

        :raises OSError: the file system knows no locks.
        """
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def lock(descriptor: int) -> bool:
        """Take it without waiting; return whether it was free.

        :raises OSError: the file system knows no locks.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
