"""A process beside the app's models: how it is started, and what it answers."""
