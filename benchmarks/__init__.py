"""One script per question; each prints both sides in one run, as a ratio."""
