"""A page of its own: the history of one or several runs as one HTML file."""
