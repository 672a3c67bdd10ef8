"""One script for each question. It measures two sides in one run, and prints their ratio."""
