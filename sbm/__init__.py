"""The Seed Stage-Based Messaging store: content, schedules, subscriptions, and their delivery."""
