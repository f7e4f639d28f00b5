"""Checkpoints on the Hugging Face Hub: found by their revisions, read by ranges, kept by hash."""
