"""The daemon among processes that are killed, stopped and cut off, and the account of it."""
