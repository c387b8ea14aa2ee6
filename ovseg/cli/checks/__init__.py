"""What ``ovseg check`` looks at, a file per section; each yields findings and raises nothing."""
