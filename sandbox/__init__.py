"""An embedded stack for trying and testing: PostgreSQL from a wheel and a small real PAP API, per environment."""
