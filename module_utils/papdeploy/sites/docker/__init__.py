"""Docker containers as sites."""
