"""The stand-in cloud: a program of its own that answers like the AI Studios API, with faults on request.

::

    server.py    Settings, serve(), RunningSimulator: sockets, signals, threads, the real clock
    app.py       requests in, answers out
    wire.py      how an answer's bytes go out, whole or damaged
    answers.py   what an answer says: JSON, error shapes, HTML, XML
    dialects.py  what the API versions disagree about: paths, field names, required fields
    cloud.py     projects, progress, signed links: pure, time comes in as an argument
    video.py     the finished video, of any size, without holding it in memory
    faults.py    the faults and when they strike: pure

It shares no code with the daemon, so that it cannot share its mistakes either: what it knows is API.md.
"""
