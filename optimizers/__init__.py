"""Strategies: what proposes the next points. Torch is imported with the first suggestion only."""
