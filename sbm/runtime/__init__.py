"""Runs the daemon's parts: services, loops, signals, and slices of the reactor's time."""
