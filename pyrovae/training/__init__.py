"""How a VAE is fitted: settings, the loop, where it stands and how it goes wrong."""
