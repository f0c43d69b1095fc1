"""Image quality: feature networks, distances between sets of images, and metrics."""
