"""Rows and a table of attributes in, the figures of a site out."""
