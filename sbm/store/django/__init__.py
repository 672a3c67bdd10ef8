"""Reads the database of the service that sbm replaces, and writes its data into ours."""
