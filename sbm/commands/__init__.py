"""The operator's commands that ``sbm`` is made of."""
