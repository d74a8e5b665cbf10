"""The gallery: pictures of what the models do, each made by one command."""
