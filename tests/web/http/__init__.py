"""Tests of ``sbm/web/http``."""
