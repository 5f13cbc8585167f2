"""What happens in a simulated world: pure functions and small states, no clock, no instrument."""
