"""Tests of ``sbm/settings``."""
