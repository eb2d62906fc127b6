"""The stand-in cloud: a program of its own that answers like the AI Studios API, with faults on request.

::

    server.py       Settings, serve(), RunningSimulator: sockets, signals, threads, the real clock
    routes.py       all endpoints together
    api.py          exports and looks at them, in each version
    account.py      what only v3 has: tokens, models, the list of projects
    control.py      the control API
    app.py          what they share, the object store, and all other paths
    wire.py         how an answer's bytes go out, whole or damaged
    answers.py      what an answer says: JSON, error shapes, HTML, XML
    rewrites.py     what a fault makes of it: pure
    dialects.py     what the API versions disagree about: paths, field names, required fields
    cloud.py        projects, progress, signed links: pure, time comes in as an argument
    credentials.py  keys, applications, tokens: pure
    catalogue.py    the models and clothes; portraits.py draws them
    video.py        the finished video, of any size, without holding it in memory
    ranges.py       which bytes of it were asked for
    faults.py       the faults and when they strike: pure
    tally.py        what was asked and what became of it

It shares no code with the daemon, so that it cannot share its mistakes either: what it knows is API.md.
"""
