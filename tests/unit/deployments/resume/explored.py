"""Which runs were made already: a run in virtual time is decided by what happens in it."""

from tests.unit.deployments.resume.world import Fault, Point, by_point

Happened = tuple[Fault, ...]


class Explored:
    """Runs that were made, by the points that they came to.

    A run comes to its points in one order, up to its next fault. A fault at a point that it does
    not come to changes nothing.
    """

    def __init__(self) -> None:
        self._points: dict[Happened, list[Point]] = {}  # that a run comes to behind these faults
        self._ends: set[Happened] = set()  # faults behind which a run came to its end
        self._known: dict[Point, Point] = {}  # each point once, for all runs

    def __len__(self) -> int:
        """How many runs differ."""
        return len(self._ends)

    def has(self, faults: tuple[Fault, ...]) -> bool:
        """Whether a run with these faults was made."""
        at, happened = by_point(faults), ()
        while (points := self._points.get(happened)) is not None:
            fault = next((at[point] for point in points if point in at), None)
            if fault is None:
                return happened in self._ends
            happened += (fault,)
        return False

    def add(self, asked: list[tuple[Point, Fault | None]]) -> None:
        """Add a run by the points that it came to, and what happened there."""
        happened: Happened = ()
        points: list[Point] = []
        for point, fault in asked:
            points.append(self._known.setdefault(point, point))
            if fault is not None:
                self._add_points(happened, points)
                happened, points = (*happened, fault), []
        self._add_points(happened, points)
        self._ends.add(happened)

    def _add_points(self, happened: Happened, points: list[Point]) -> None:
        if len(points) >= len(self._points.get(happened, ())):
            self._points[happened] = points
