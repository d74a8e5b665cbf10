"""What a user gives to a VAE: converted and checked, or refused in our words."""
