"""Migrations from the command line: what a migration file does when it is run alone."""
