"""Who drives: one of those who watch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Seats:
    """Viewers in the order in which they came, by number, and the one who drives."""

    taken: list[int] = field(default_factory=list)
    driver: int | None = None
    count: int = 0  # viewers that have ever come

    def enter(self) -> int:
        """Take a seat; the first drives. Returns the viewer's number."""
        self.count += 1
        self.taken.append(self.count)
        if self.driver is None:
            self.driver = self.count
        return self.count

    def leave(self, viewer: int) -> bool:
        """Free a seat; the one who came first drives if its viewer did. Returns whether the driver changed."""
        self.taken.remove(viewer)
        if viewer != self.driver:
            return False
        self.driver = self.taken[0] if self.taken else None
        return True

    def take(self, viewer: int) -> bool:
        """Drive from now on. Returns whether the driver changed."""
        changed = viewer != self.driver
        self.driver = viewer
        return changed

    def hand(self, viewer: int) -> bool:
        """Let the next viewer drive, if it is this one who drives. Returns whether the driver changed."""
        if viewer != self.driver or len(self.taken) < 2:
            return False
        self.driver = self.taken[(self.taken.index(viewer) + 1) % len(self.taken)]
        return True
