"""Tests of the sandbox and of the stand-ins that the other tests use."""
