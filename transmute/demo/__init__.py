"""The built-in example: generates a data set, trains on it, and measures the result."""
