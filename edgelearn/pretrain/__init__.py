"""Making a base model on a workstation, with PyTorch; nothing of the runtime imports this package."""
