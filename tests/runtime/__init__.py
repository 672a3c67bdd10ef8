"""Tests of ``sbm/runtime``."""
