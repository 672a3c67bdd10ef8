"""HTTP itself: sockets, bodies, limits, authentication, errors, and one request's reply."""
