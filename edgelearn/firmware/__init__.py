"""The model as C for firmware; the C sources of the engine themselves are in firmware_sim/firmware."""
