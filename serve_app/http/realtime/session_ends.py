"""How a session ends, other than by its client."""

from serve_app.http.realtime.refusals import Refused

NORMAL = 1000
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL = 1011
RESTART = 1012
TRY_AGAIN = 1013


class SessionEnds(Exception):
    """The server ends a session: with an error, perhaps, and a close code."""

    def __init__(self, code: int, reason: str, error: Refused | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.error = error


def closed_by_client() -> SessionEnds:
    """Its client has asked for the end."""
    return SessionEnds(NORMAL, "the client has closed the session")


def expired(limit_s: float) -> SessionEnds:
    """It has lasted as long as it may; a client may open another one."""
    message = f"the session has reached its limit of {limit_s:g} s"
    return SessionEnds(GOING_AWAY, message, Refused("session_expired", message))


def idle(limit_s: float) -> SessionEnds:
    """Its client has sent nothing for long."""
    message = f"the session was idle for {limit_s:g} s"
    return SessionEnds(GOING_AWAY, message, Refused("session_expired", message))


def flooded(what: str) -> SessionEnds:
    """Its client sends more than a session may."""
    message = f"the session sent too {what}"
    return SessionEnds(POLICY_VIOLATION, message, Refused("rate_limit_exceeded", message))


def draining() -> SessionEnds:
    """The replica stops; another one takes the client's next session."""
    return SessionEnds(RESTART, "the server restarts")
