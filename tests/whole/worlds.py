"""Several whole daemons on one root, one ledger on PostgreSQL, one fake cloud, and one fake clock.

What their lifelines would say is said by hand, so that all happens in an order that the test knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from world import FakeCloud, World

from daemon.core.messages import LedgerHeard, LifelineCut, LifelineMended, PeerLost, PeersSeen
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    import sqlalchemy as sa
    from team import Team

    from daemon.edges.ledger import Ledger


class Worlds:
    """The daemons, by name; all are alive at first.

    Args:
        team: opens their ledgers.
        names: theirs.
        limits: of all of them.
        render_seconds: how long a render takes.
    """

    def __init__(
        self, team: Team, names: str = "ab", *, limits: Limits | None = None, render_seconds: float = 10.0
    ) -> None:
        self._team = team
        self._limits = limits or Limits()
        self._heard: list[tuple[World, frozenset[str]]] = []
        self.monotonic = 1000.0
        self.wall = 1_700_000_000.0
        self.cloud = FakeCloud(lambda: self.monotonic, render_seconds)
        self.root = team.root
        self.all: dict[str, World] = {}
        self.alive: dict[str, World] = {}
        for name in names:
            self.start(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for world in self.alive.values():
            world.kill()

    def __getitem__(self, name: str) -> World:
        return self.all[name]

    # --- who lives --------------------------------------------------------------------------------

    def start(self, name: str) -> World:
        """A daemon joins, and is seen by the others."""
        world = World(self.root, limits=self._limits, is_started=False, open_ledger=lambda: self._team.join(name))
        world.cloud = self.cloud
        world.monotonic, world.wall = self.monotonic, self.wall
        world.start()
        self._listen(world, world.ledger)
        self.all[name] = self.alive[name] = world
        self._see()
        return world

    def _listen(self, world: World, ledger: Ledger) -> None:
        base: Any = ledger._base

        def announce(_connection: sa.Connection, _ledger_id: str, _owner: str, kinds: frozenset[str]) -> None:
            self._heard.append((world, kinds))

        base.announce = announce

    def _see(self) -> None:
        for name, world in self.alive.items():
            others = frozenset(other.ledger.owner for other in self.alive.values() if other is not world)
            world.mailbox.append(PeersSeen(others, is_painter=name == min(self.alive)))

    def kill(self, name: str) -> None:
        """SIGKILL; until PostgreSQL has noticed. Nobody is told yet."""
        world = self.alive.pop(name)
        self._team.die(world.ledger)

    def cut(self, name: str) -> None:
        """Its life ends for PostgreSQL, and it is told; it lives on."""
        self._team.cut(self.all[name].ledger)
        self.all[name].mailbox.append(LifelineCut("the connection is lost"))

    def mend(self, name: str) -> None:
        """It lives again for PostgreSQL, and is told."""
        base: Any = self.all[name].ledger._base
        base._lifeline._drop()
        base._lifeline.take()
        self.all[name].mailbox.append(LifelineMended())

    def tell_lost(self, name: str, *heirs: str) -> None:
        """These, or all that live, are told that the daemon does not."""
        for heir in heirs or self.alive:
            if heir != name:
                self.alive[heir].mailbox.append(PeerLost(self.all[name].ledger.owner))
        self._see()

    # --- time -------------------------------------------------------------------------------------

    def settle(self) -> float | None:
        """Turn all of them until nothing moves and everybody has heard everything; when one wants to be woken."""
        for _ in range(200):
            wakes = [world.settle() for world in self.alive.values()]
            heard, self._heard = self._heard, []
            for by, kinds in heard:
                for world in self.alive.values():
                    if world is not by:
                        world.mailbox.append(LedgerHeard(kinds, by.ledger.owner))
            if not heard:
                return min((wake for wake in wakes if wake is not None), default=None)
        raise AssertionError("the daemons never come to rest")

    def pass_time(self, seconds: float) -> None:
        """Let time pass for all of them, waking each whenever it wants to be."""
        end = self.monotonic + seconds
        while True:
            wake = self.settle()
            moment = end if wake is None else min(end, wake)
            self._set_clocks(moment)
            self.check()
            if moment >= end:
                self.settle()
                return

    def skip_time(self, seconds: float) -> None:
        """Time passes in which nobody is woken, as while a computer sleeps."""
        self.settle()
        self._set_clocks(self.monotonic + seconds)
        self.pass_time(60)

    def _set_clocks(self, moment: float) -> None:
        self.wall += moment - self.monotonic
        self.monotonic = moment
        for world in self.all.values():
            world.monotonic, world.wall = self.monotonic, self.wall

    # --- people -----------------------------------------------------------------------------------

    def drop(self, name: str, content: str, *seen_by: str) -> None:
        """Into inbox/, where these, or all that live, see it at the same moment."""
        world = next(iter(self.alive.values()))
        world.put(name, content)
        for one in seen_by or self.alive:
            self.alive[one].say_ready(name)

    # --- looking ----------------------------------------------------------------------------------

    def in_flight(self) -> int:
        """Renders that have begun and not ended, as the cloud sees them."""
        ends = (at + self.cloud.render_seconds for at, _body in self.cloud.accepted.values())
        return sum(end > self.monotonic for end in ends)

    def check(self) -> None:
        """What holds at every moment: nothing is paid twice, and not more in flight than the account allows."""
        assert max(self.cloud.texts_accepted().values(), default=0) <= 1
        assert self.in_flight() <= self._limits.max_rendering

    def files(self, folder: str) -> list[str]:
        """Every visible job file or video below a folder."""
        found = next(iter(self.all.values())).files(folder)
        return [name for name in found if not name.endswith((".result.json", ".error.txt"))]
