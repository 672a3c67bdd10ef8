"""Import the database of the service that sbm replaces."""
