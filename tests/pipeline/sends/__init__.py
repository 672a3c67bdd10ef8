"""Tests of ``sbm/pipeline/sends``."""
