"""The HTTP API: parse a request, call one operation, reply."""
