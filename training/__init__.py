"""Training and testing: steps, optimizers, schedules, logs."""
