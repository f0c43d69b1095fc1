"""The embedded example: a data set that makes itself, a small training, and evidence that it worked."""
