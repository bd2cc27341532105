"""Up from the roots, each model asked for once, and its parents as soon as it has answered.

Waiting for a whole level before the next would cost the slowest answer of each, and the processor would idle
while the Hub thinks.  Levels are found out when all is known, so the order of answers does not matter.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue

from llmcourse.core.hub.asking import Hub
from llmcourse.family_tree.graph import State
from llmcourse.family_tree.members import Members, key_of
from llmcourse.family_tree.names import Named
from llmcourse.family_tree.reading import Member, Wanted, read_folder, read_member, read_more

_LATER = 1  # what nobody waits for comes after what leads further


class Ascent:
    """`depth` is the number of levels that are read; parents beyond are named and not read."""

    def __init__(
        self, hub: Hub, members: Members, depth: int | None, counted: Callable[[int, int], None]
    ) -> None:
        self._hub = hub
        self._members = members
        self._depth = depth
        self._counted = counted
        self._distances: dict[str, int] = {}  # from the nearest root, as far as is known
        self._asked: dict[str, int] = {}  # names under way -> distance
        self._beyond: dict[str, Named] = {}
        self._answers: SimpleQueue[Future[Member]] = SimpleQueue()
        self._open = 0

    def climb(self, roots: Sequence[Member]) -> None:
        """Add all ancestors of the roots to the members; returns when none is left."""
        for root in roots:
            self._begin_more(root)
            self._reach(root.node.id, 0)
        while self._open:
            member = self._answers.get().result()
            self._open -= 1
            key = member.wanted.lower()
            if key in self._asked:
                if member.node.id not in self._members.nodes:
                    self._begin_more(member)
                name = self._members.add(member)
                self._reach(name, self._asked.pop(key))
                self._counted(len(self._members.nodes), len(self._members.nodes) + len(self._asked))
            else:
                self._members.update(member)
                self._follow(member.node.id)
        for named in self._beyond.values():
            if self._members.known(named) is None:
                self._members.place(named.id or named.shown, State.BEYOND, named.reason)

    def _reach(self, name: str, distance: int) -> None:
        """A member at a distance; if nearer than was known, so are its parents, which a depth may let in."""
        reached = deque([(name, distance)])
        while reached:
            name, distance = reached.popleft()
            known = self._distances.get(name)
            if known is not None and (known <= distance or self._depth is None):
                continue
            self._distances[name] = distance
            reached.extend(self._parents(name, distance + 1))

    def _follow(self, name: str) -> None:
        """A member whose files named its parents."""
        distance = self._distances[name] + 1
        for parent, each in self._parents(name, distance):
            self._reach(parent, each)

    def _parents(self, child: str, distance: int) -> list[tuple[str, int]]:
        """Those parents that are members, with their distance; others are asked for, or become members."""
        found: list[tuple[str, int]] = []
        for named, claim in self._members.parents_of(child):
            key = key_of(named)
            parent = self._members.known(named)
            if parent is not None:
                found.append((parent, distance))
            elif key in self._asked:
                self._asked[key] = min(self._asked[key], distance)
            elif self._depth is not None and distance > self._depth:
                if not claim.is_tentative:
                    self._beyond[key] = named
            elif named.id is None and named.reason:
                self._members.place(named.shown, State.MISSING, named.reason)
            elif named.id is None:
                folder = read_folder(named.shown)
                found.append((self._members.add(folder), distance))
            else:
                guess = claim.relation if claim.is_tentative else None
                self._asked[key] = distance
                self._submit(partial(read_member, self._hub, Wanted(named.id, tentative=guess)))
        return found

    def _begin_more(self, member: Member) -> None:
        """Have the files read that add to what is known, such as the weights of a merge."""
        if member.more:
            self._submit(partial(read_more, self._hub, member), _LATER)

    def _submit(self, call: Callable[[], Member], priority: int = 0) -> None:
        self._open += 1
        self._hub.submit(call, priority).add_done_callback(self._answers.put)
