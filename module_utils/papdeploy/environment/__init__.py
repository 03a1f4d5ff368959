"""The environment of the app's processes: what they find there, and what a copy makes of it."""
