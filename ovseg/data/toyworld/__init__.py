"""Toyworld: a data set that is drawn, not downloaded, with exact truth and classes that training lacks."""
