"""Tests of the path of a send."""
