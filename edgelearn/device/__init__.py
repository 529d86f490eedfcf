"""The memory-budgeted device under everything: arena, board profiles, costs, and what fits."""
