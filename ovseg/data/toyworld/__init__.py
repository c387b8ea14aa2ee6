"""Toyworld: a data set that is drawn instead of downloaded, with exact truth and classes that are never shown."""
