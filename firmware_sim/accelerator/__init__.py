"""The training accelerator, cycle by cycle: what its published RTL takes, and what a whole learning step takes."""
