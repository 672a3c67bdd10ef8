"""Tests of ``sbm/pipeline/tasks``."""
