"""Tests of ``sbm/web/schema``."""
