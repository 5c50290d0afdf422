"""What is reported: metrics, plots, TensorBoard summaries, shaded text, linear classifiers."""
