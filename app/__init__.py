"""Parley's rules and infrastructure. Nothing in here knows GraphQL; `schema/` does."""
