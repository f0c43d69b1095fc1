"""Generators and discriminators: tensors in, tensors out."""
