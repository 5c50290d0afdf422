"""The networks that the HAN is compared with, and what all networks are made of: contract, layers, compiled loops."""
