"""Tests of ``sbm/pipeline/upkeep``."""
