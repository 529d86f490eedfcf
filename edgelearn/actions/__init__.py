"""What happens when a word is heard: programs, pipes, brokers and pins, none of which can hold up the listening."""
