"""What keeps a lab from harm, below plan and optimizer: limits, interlocks, inventory, STOP."""
