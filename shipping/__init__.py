"""What goes out of the house: bundles that classify texts without this repository and without TensorFlow."""
