"""Where things run: this host, and containers on it."""
