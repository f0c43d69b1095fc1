"""Pictures from folders to batches."""
