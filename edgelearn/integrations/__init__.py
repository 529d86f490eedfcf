"""Where the program meets the machine's other services: systemd, and Home Assistant through Wyoming."""
