"""Simulated instruments, one file each, and the physical worlds they share."""
