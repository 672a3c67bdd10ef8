"""What the Seed Scheduler has to be told."""
