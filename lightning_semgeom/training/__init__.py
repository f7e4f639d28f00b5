"""Keep structure and use it: stop at its peak, train so that it stays, steer with it."""
