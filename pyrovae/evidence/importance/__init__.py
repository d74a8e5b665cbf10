"""Importance sampling: proposals, importance weights and the tails of the weights."""
