"""Keep structure: stop at its peak, or train so that it stays."""
