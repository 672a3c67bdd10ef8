"""The databases that tests run against, and tests of them."""
