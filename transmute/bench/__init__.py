"""How fast a training step is on this machine, beside a step as the original computes it."""
