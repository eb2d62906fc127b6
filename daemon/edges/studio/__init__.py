"""The cloud, through requests: the only place that speaks HTTP to it.

::

    client.py    Studio: export, look, probe, download
      ├── judge.py     what an answer means: API.md's last table (pure)
      ├── dialect.py   what differs between the API's generations (a table)
      ├── download.py  a video into its part file, resumed where it was cut
      │     └── whole.py   is the file a whole video? (pure)
      └── wire.py      connections that know whether anything was sent, and cannot be held for ever
"""

from daemon.edges.studio.client import Studio
from daemon.edges.studio.dialect import DIALECTS, Dialect
from daemon.edges.studio.download import Part, sidecar_of
from daemon.edges.studio.judge import Look

__all__ = ["DIALECTS", "Dialect", "Look", "Part", "Studio", "sidecar_of"]
