"""``python -m daemon`` is ``chromadrop``."""

from daemon.cli import main

main()
