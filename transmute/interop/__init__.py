"""Weights and command lines of other tools, whose conventions are confined to this package."""
