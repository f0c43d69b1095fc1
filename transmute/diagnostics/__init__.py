"""Symptoms of failing training runs."""
