"""Evidence without Monte Carlo error, of the models that have it."""
