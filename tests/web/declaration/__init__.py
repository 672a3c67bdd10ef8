"""Tests of what declarations give."""
