"""Keeps the schedules at the Seed Scheduler up to date."""
