"""The parts of ``make run`` besides the daemon: PostgreSQL, and stand-ins of the Seed services."""
