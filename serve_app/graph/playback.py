"""What a client that plays an answer in real time has heard of it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Playback:
    """Plays from the first sound on; after a gap it goes on with the next. Times in seconds."""

    plays_until_s: float | None = None  # all that was sent; None before the first sound
    played_s: float = 0.0  # how long all that was sent plays
    waited_s: float = 0.0  # for all parts of the answer
    underruns: int = 0
    silence_s: float = 0.0  # of all underruns

    def take(self, sound_s: float, asked_s: float, came_s: float) -> None:
        """Take the next part, which plays `sound_s` or has no sound.

        `asked_s` is when the client could take it. A client that reads late causes its own gaps:
        the time before does not count.
        """
        self.waited_s += came_s - asked_s
        if not sound_s:
            return
        plays_until_s = came_s if self.plays_until_s is None else self.plays_until_s
        late_s = came_s - max(plays_until_s, asked_s)
        if late_s > 0 and self.plays_until_s is not None:
            self.underruns += 1
            self.silence_s += late_s
        self.plays_until_s = max(plays_until_s, came_s) + sound_s
        self.played_s += sound_s
