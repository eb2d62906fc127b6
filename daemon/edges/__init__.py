"""One outside thing each. Edges do not import each other, and translate foreign errors into core.errors."""

import sys

# structlog imports rich for tracebacks that we never ask it for, and only where it finds it: 4 MB and a tenth of the
# start. None says that a module is not there (https://docs.python.org/3/reference/import.html#the-module-cache).
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog as structlog

    del sys.modules["rich"]
