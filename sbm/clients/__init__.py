"""Clients of the services that sbm calls; no other code calls these services."""
