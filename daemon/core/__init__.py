"""Pure: no I/O, no clock, no logger. Values in, values out."""
