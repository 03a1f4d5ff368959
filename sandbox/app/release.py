"""Which release this is. ``sandbox.releases`` writes this file when it makes a release's directory."""

NAME = "source"
VERSION = "0"
