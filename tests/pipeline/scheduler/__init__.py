"""Tests of ``sbm/pipeline/scheduler``."""
