"""The business rules: what clients and operators ask for. ``web`` and ``commands`` call them."""
