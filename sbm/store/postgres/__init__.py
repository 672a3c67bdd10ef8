"""PostgreSQL itself: connections, transactions, statements and migrations."""
