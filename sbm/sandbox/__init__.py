"""What ``make run`` needs beside the daemon: the other Seed services, played by stand-ins."""
