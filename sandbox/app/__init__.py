"""A small PAP API: users, policies, protected resources and enforcement points over FastAPI and SQLAlchemy."""
