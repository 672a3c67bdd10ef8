"""Tests of taking over the old service's data."""
