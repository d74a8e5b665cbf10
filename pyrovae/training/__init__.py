"""Training of a VAE: settings, the loop, its state, and the detection of divergence."""
