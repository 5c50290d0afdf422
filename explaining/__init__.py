"""Why a network decided as it did, and whether that is true."""
