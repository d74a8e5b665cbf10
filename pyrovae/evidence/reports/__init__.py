"""What is reported of an evaluation, and whether it is to be trusted."""
