"""Text to token ids: sentence boundaries, records, word vectors, worker processes."""
