"""A method that names pixels by their colour, as an example of a plugin for ovseg."""
