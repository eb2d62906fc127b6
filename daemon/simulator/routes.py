"""All endpoints together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from daemon.simulator.account import Account
from daemon.simulator.api import Api
from daemon.simulator.control import Control
from daemon.simulator.dialects import V2, V3

if TYPE_CHECKING:
    from daemon.simulator.app import Simulator

DIALECTS: Final = (V2, V3)
LARGEST_REQUEST_BYTES: Final = 4 * 1024 * 1024


def application(simulator: Simulator) -> web.Application:
    """The endpoints of every version, the object store's, the control API's, and the rest."""
    app = web.Application(client_max_size=LARGEST_REQUEST_BYTES)
    for dialect in DIALECTS:
        Api(simulator, dialect).add_to(app)
        if dialect.has_account:
            Account(simulator, dialect).add_to(app)
    Control(simulator).add_to(app)
    simulator.add_to(app)
    return app
