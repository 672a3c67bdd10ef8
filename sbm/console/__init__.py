"""The web console: pages for people who write no curl, below ``/console``."""
