"""Differences between two catalogs, and what counts as one."""
