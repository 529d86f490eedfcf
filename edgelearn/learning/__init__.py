"""What a word is: prototypes and scores, rehearsal, learning and unlearning, and the protocols that measure it."""
