"""Tracebacks and errors that a server's logs have got since the soak began."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

TROUBLE = re.compile(r"Traceback \(most recent call last\)|\bERROR\b|\bCRITICAL\b|\bE \d{4}\b")
# "CALL speak ERROR 6.5ms" is how Ray Serve says there that a request was refused
OF_NO_ERROR = re.compile(r"(\([^)]*\) )?(INFO|DEBUG)\b")
CONTROLLER = "controller"  # how the names of its logs begin
EXAMPLES = 20
AROUND = 3  # lines kept behind one that is trouble
SHOWN = 300  # characters of a line


@dataclass(slots=True)
class LogWatch:
    """Reads what is new in logs; files that are new are read from their beginning."""

    read_to: dict[Path, int] = field(default_factory=dict)
    tracebacks: int = 0
    errors: int = 0
    of_controller: int = 0  # both of Ray's controller, which no client's request reaches
    examples: list[str] = field(default_factory=list)

    def pass_over(self, logs: Iterable[Path]) -> None:
        """What these hold is of before."""
        self.read_to |= {log: log.stat().st_size for log in logs}

    def read(self, logs: Iterable[Path]) -> None:
        for log in logs:
            with log.open("rb") as file:
                file.seek(self.read_to.get(log, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]  # a line that is not written out comes next time
            self.read_to[log] = self.read_to.get(log, 0) + len(whole)
            self._look(log.name, whole.decode(errors="replace").splitlines())

    def _look(self, name: str, lines: list[str]) -> None:
        for number, line in enumerate(lines):
            found = TROUBLE.search(line)
            if found is None or OF_NO_ERROR.match(line):
                continue
            self._count(name, is_traceback=found[0].startswith("Traceback"))
            if len(self.examples) < EXAMPLES:
                said = (each[:SHOWN] for each in lines[number : number + AROUND])
                self.examples.append(f"{name}: " + "\n".join(said))

    def _count(self, name: str, *, is_traceback: bool) -> None:
        if name.startswith(CONTROLLER):
            self.of_controller += 1
        elif is_traceback:
            self.tracebacks += 1
        else:
            self.errors += 1
