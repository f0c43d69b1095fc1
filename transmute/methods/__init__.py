"""What one training step is: one file a method."""
