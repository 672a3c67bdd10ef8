"""The HTTP face: parse, do one thing, reply."""
