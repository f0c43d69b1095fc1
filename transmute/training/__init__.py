"""The loop: the same for every method."""
