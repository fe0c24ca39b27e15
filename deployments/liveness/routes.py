"""Where requests went whose replicas have not said anything yet.

The router of a process notes it, and the watch over the answer reads it. They meet in this module:
Ray Serve copies a router's class, so nobody else sees what the class or its module keeps.
"""

from typing import Any


class Route:
    """The way of one request."""

    __slots__ = ("replica",)

    def __init__(self) -> None:
        self.replica = ""  # that it was sent to last; "" while it waits for one


class Routes:
    """The routes of the requests whose answers are waited for in this process.

    Requests are told apart by identity: the router gets the very object that was asked with.
    """

    def __init__(self) -> None:
        self._by_request: dict[int, Route] = {}

    def begin(self, request: Any) -> Route:
        route = self._by_request[id(request)] = Route()
        return route

    def note(self, request: Any, replica: str) -> None:
        """Take note of the replica that a request goes to; "" while it waits for one."""
        route = self._by_request.get(id(request))
        if route is not None:
            route.replica = replica

    def end(self, request: Any) -> None:
        self._by_request.pop(id(request), None)


ROUTES = Routes()
