"""The rules of what clients and operators ask for; web and commands call them."""
