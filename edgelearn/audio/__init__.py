"""Sound in, int8 feature frames out: microphone and files, the log-mel front end, the end pointer."""
