"""Reports of evaluations: numbers, errors and whether to trust them."""
