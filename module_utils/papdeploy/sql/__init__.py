"""SQL as text: one lexer, statements, and the expressions of PostgreSQL."""
