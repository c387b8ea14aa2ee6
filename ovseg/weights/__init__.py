"""Published weights: what there is, how it gets here, and how it gets into a module."""
