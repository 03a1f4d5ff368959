"""Running migrations: connection, locks, one transaction a batch, and how its commit ended."""
