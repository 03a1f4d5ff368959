"""Writing migrations: from the template or the models, and what a reader of them warns about."""
