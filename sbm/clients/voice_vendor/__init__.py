"""The voice vendor's folder of audio files, which is written by SFTP."""
