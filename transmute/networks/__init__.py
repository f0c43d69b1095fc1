"""Networks: modules from tensors to tensors, built from flat keyword arguments."""
