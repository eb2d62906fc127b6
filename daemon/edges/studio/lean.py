"""requests without the library that guesses encodings: it takes 3 MB, and all that we read is bytes, or JSON in UTF-8.

requests does without where there is none (``requests.compat``), and warns of it. This is imported before all else here.
"""

from __future__ import annotations

import sys
import warnings
from typing import Final

_GUESSERS: Final = ("chardet", "charset_normalizer")

if "requests" not in sys.modules:
    # None says that a module is not there (https://docs.python.org/3/reference/import.html#the-module-cache).
    sys.modules.update(dict.fromkeys(_GUESSERS))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unable to find acceptable character detection dependency")
        import requests  # noqa: F401
    for name in _GUESSERS:
        del sys.modules[name]
