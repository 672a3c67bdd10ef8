"""The clients of the other services, over loopback."""
