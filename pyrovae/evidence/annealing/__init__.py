"""Annealed importance sampling and what is made of it."""
