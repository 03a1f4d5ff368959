"""Who works on a stack: the deploy lock, on disk and on the server, and how the remains of a run are ended."""
