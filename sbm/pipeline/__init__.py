"""The path of a send: tick, owed, claimed, delivered, settled; and the loops it runs in."""
