"""HTTP itself: sockets, bodies, limits, authentication, errors, and the reply to one request."""
