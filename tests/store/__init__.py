"""Tests of what is kept in the database, against a real one."""
