"""Tests of ``sbm/sandbox/stand_ins``."""
