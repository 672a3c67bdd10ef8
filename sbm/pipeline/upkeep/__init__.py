"""What is checked, counted, reported and cleaned up now and then."""
