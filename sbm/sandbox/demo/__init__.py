"""The sandbox that ``make run`` starts: everything in one process and one folder."""
