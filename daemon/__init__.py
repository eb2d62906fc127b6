"""chromadrop: drop a YAML file into a folder, get chroma-key videos.

::

     people                                                            AI Studios cloud
       │ drop                                                             ▲        ▲
       ▼                                                                  │ POST   │ GET
    inbox/ ──claim──► processing/ ─────────────────────────────────────► export ─► fetch ──► videos/
                          │                                                         │
                          └───────────────────── file away ◄────────────────────────┘
                                                 │
                                                 ▼
                                          done/ or failed/

    cli ─► app ─► dispatcher ─► pipeline ─► edges ─► core
           │         │            claim       inbox_watch   job, batch, gate,
           │         │            export      spool         schedule, settle ...
           │         │            fetch       ledger        (pure)
           │         │            file_away   studio
           │         └ the brain: turn(now, messages) -> when to wake; owns the ledger
           └ wires everything; signals; the only real clock

The first law: **an export is asked for at most once; everything else at least once.** From it follow the invariants:

1. A job file is in exactly one of inbox, processing, done, failed.
2. At most one export is ever accepted for a job, short of a person's word.
3. A file in done/ has every video of its batch complete in videos/.
4. The ledger knows before the world is asked, and again after it answered.
5. Stopped at any instant and started again, the daemon ends where it would have ended, but for jobs in doubt, which
   it says.
"""

from typing import Final

VERSION: Final = "0.1.0"
