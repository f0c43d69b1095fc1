"""Attacks with counts: `python -m tests.campaigns --help`, or `make campaign`."""
