"""The database of the service that sbm replaces, read, and written into ours."""
