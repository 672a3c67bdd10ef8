"""Tests of ``sbm/operations``."""
