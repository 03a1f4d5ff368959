"""Telling people: what happened to a stack, by a webhook."""
