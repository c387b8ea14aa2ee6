"""Training: the engine, the loop around it, and what is kept of both on disk."""
