"""The nouns and rules of stage-based messaging, in plain Python: no SQL, no HTTP, no clock."""
