"""Other people's optimizers as strategies of a campaign; each needs its own extra."""
