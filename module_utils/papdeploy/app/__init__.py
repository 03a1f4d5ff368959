"""The application at its site: what its own process would find there."""
