"""One training step per method, one file each."""
