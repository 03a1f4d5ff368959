"""The schema check from the command line."""
