"""Tests of ``sbm/sandbox/demo``."""
