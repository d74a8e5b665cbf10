"""Importance sampling: weights, their tails, and what samples are drawn from."""
