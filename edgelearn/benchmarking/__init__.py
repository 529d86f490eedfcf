"""How fast this machine runs edgelearn, and how fast it runs what one would use instead: paired, in one process."""
