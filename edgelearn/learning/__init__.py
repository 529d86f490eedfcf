"""What a word is: prototypes and scores, the rehearsal memory, learning and unlearning, and the protocols that measure it."""
