"""Annealed importance sampling and the bounds based on it."""
