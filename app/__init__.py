"""Parley's rules and infrastructure. Nothing in here knows GraphQL; `schema/` does."""

__version__ = "0.1.0"
