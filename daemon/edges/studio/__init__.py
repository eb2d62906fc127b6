"""The cloud, through requests: the only place that speaks HTTP to it.

::

    client.py    Studio: export, look, project, projects, models, probe, download
      ├── token.py     what is sent as Authorization: a key, or a token that is renewed
      │     └── calls.py   one call: a request in, an answer out, or whether anything was sent
      ├── judge.py     what an answer means: API.md's last table (pure)
      │     ├── projects.py  projects, read from whatever the cloud wrote (pure)
      │     └── values.py    numbers, moments, ids, and links, likewise (pure)
      ├── dialect.py   what differs between the API's generations (a table)
      ├── download.py  a video into its part file, resumed where it was cut
      │     └── whole.py   is the file a whole video? (pure)
      ├── wire.py      connections that know whether anything was sent, and cannot be held for ever
      └── lean.py      requests, without what we have no use for
"""

from daemon.edges.studio import lean  # noqa: F401 - before requests
from daemon.edges.studio.client import Studio
from daemon.edges.studio.dialect import DIALECTS, Dialect
from daemon.edges.studio.download import Part, sidecar_of
from daemon.edges.studio.judge import Look

__all__ = ["DIALECTS", "Dialect", "Look", "Part", "Studio", "sidecar_of"]
