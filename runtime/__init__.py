"""A network at work: run folders, checkpoints, batches, scoring, devices, several machines."""
