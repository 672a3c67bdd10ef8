"""Stand-ins of the other Seed services, which behave like the real ones."""
