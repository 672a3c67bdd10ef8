"""Work that clients ask for and do not wait for."""
