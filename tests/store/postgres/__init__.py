"""Tests of ``sbm/store/postgres``."""
