"""Layers and compiled loops that networks are made of, and the networks to compare the HAN with."""
