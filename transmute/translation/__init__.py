"""Picture in, picture out. Nothing here knows of methods or training."""
