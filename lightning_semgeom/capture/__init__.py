"""Rows out of a model: which places, which rows of them, and when."""
