"""Images from folders to batches."""
