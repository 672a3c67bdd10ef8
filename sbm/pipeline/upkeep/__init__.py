"""The parts of the daemon that check, count, report and clean up now and then."""
