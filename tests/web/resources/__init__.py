"""Tests of ``sbm/web/resources``."""
