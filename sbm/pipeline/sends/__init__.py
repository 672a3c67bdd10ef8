"""The path of a send: claimed, its address looked up, posted, settled, reconciled."""
