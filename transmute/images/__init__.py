"""Image files and pixel values: the only package that handles formats, color and depth."""
