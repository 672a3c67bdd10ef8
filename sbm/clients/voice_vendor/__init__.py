"""The voice vendor: a folder of files, by SFTP."""
