"""Tests of ``sbm/clients/voice_vendor``."""
