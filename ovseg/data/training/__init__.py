"""Training pictures of any data set whose truth says which pixels are which segment.

A batch is a function of seed, iteration and share alone, so a run that goes on after a kill, with other
workers or processes, sees what it would have seen. The way in is `loader.training_loader`.
"""
