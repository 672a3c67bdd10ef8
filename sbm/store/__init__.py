"""The database: the only modules that use SQL."""
