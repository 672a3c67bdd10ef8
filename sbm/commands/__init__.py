"""The operator's commands of ``sbm``."""
