"""The settings: read once from the environment, checked all together, and frozen."""
