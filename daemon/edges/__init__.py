"""One outside thing each. Edges do not import each other, and translate foreign errors into core.errors."""
