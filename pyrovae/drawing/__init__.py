"""Tensors -> figures, and what is drawn of a run and of its evaluations."""
