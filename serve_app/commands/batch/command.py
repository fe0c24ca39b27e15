"""`step-audio2 batch`: the whole command.

The requests go to a running server, over HTTP and as work that nobody waits for. With
`--start CONFIG` the command runs the server itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console

from deployments.errors import ConfigError
from serve_app.commands.batch.answers import Answer, answer_log, read_answers
from serve_app.commands.batch.lines import Line, read_lines
from serve_app.commands.batch.progress import progress_of
from serve_app.commands.batch.sending import TIMEOUT_S, Patience, Sender, ServerGone
from serve_app.commands.batch.sounds import Sounds
from serve_app.commands.batch.verdict import Verdict
from serve_app.commands.console import say
from serve_app.commands.own_server import server
from serve_app.commands.server_wait import wait_until_ready
from serve_app.server_url import server_url, unused_proxy
from serve_app.whole_files import LineLog, require_folder

INTERRUPTED = 130  # the exit code of a shell's command that Ctrl-C ended
GOES_ON = "the same command goes on from here"


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options, under their own names."""

    lines: Path
    answers: Path
    base_url: str = "http://127.0.0.1:8000"
    api_key: str | None = None
    concurrency: int = 16
    recordings: Path | None = None  # None: the folder of `lines`
    start: Path | None = None  # a Serve configuration to run first
    wait_s: float = 600.0

    @property
    def recordings_folder(self) -> Path:
        return self.recordings or self.lines.parent


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do: of all lines that can be sent, those without an answer."""

    total: int
    done: Set[str]


def run(options: Options, console: Console) -> int:
    """The whole command; gives the exit code: 1 if a line is bad or failed.

    Raises:
        ConfigError: a path is wrong, the answers are another batch's, or the server did not come.
        ServerGone: it does not answer any more.
        OSError: the disk is full.
    """
    if not options.lines.is_file():
        raise ConfigError(f"{options.lines}: no such file")
    require_folder(options.answers.parent, "the folder of the answers")
    if options.answers.is_file() and options.answers.samefile(options.lines):
        raise ConfigError(f"{options.answers} holds the requests: name another file for answers")
    with answer_log(options.answers) as log:
        verdict = Verdict(options.answers)
        work = look_through(options, verdict)
        if work.total > len(work.done):
            say(console, f"{work.total} lines, {len(work.done)} of them answered before")
            try:
                send_to_server(options, work, log, verdict, console)
            except KeyboardInterrupt:
                say(console, f"interrupted; {GOES_ON}")
                return INTERRUPTED
    return verdict.say(console)


def look_through(options: Options, verdict: Verdict) -> Work:
    """Check every line, and read which of them have an answer.

    Raises:
        ConfigError: there are answers to none of the lines.
    """
    done = set()
    for answer in read_answers(options.answers):
        done.add(answer.custom_id)
        verdict.answered(answer)
    total, known = 0, set()
    for line in read_lines(options.lines, options.recordings_folder):
        if line.custom_id in done and line.custom_id not in known:
            known.add(line.custom_id)
            total += 1
        elif isinstance(line, Line):
            total += 1
        else:
            verdict.bad(line)
    if strange := done - known:
        what = f"{options.answers} answers {min(strange)!r}, which no line of {options.lines} asks"
        raise ConfigError(f"{what}: name another file for the answers")
    return Work(total, done)


def send_to_server(
    options: Options, work: Work, log: LineLog, verdict: Verdict, console: Console
) -> None:
    """Send what there is to do, to the server that runs or to one of our own.

    Raises:
        ConfigError, ServerGone, OSError: as `run`.
    """
    if options.start is None:
        url = server_url(options.base_url)
        return _send(options, url, lambda: None, work, log, verdict, console)
    with server(options.start, options.answers.with_suffix(".log"), console) as (url, check):
        _send(options, url, check, work, log, verdict, console)


def _send(
    options: Options,
    url: str,
    check: Callable[[], str | None],
    work: Work,
    log: LineLog,
    verdict: Verdict,
    console: Console,
) -> None:
    if (notice := unused_proxy(url)) is not None:
        say(console, notice)
    with httpx.Client(base_url=url, trust_env=False) as client:
        wait_until_ready(client, options.wait_s, check, console)
    with progress_of(console, len(work.done), work.total) as advance:

        def take(answer: Answer) -> None:
            log.add(answer.line())
            verdict.answered(answer)
            advance()

        try:
            asyncio.run(_answer_all(options, url, _left(options, work, verdict), take))
        except ServerGone as gone:
            raise ServerGone(f"{gone}; {GOES_ON}") from None


def _left(options: Options, work: Work, verdict: Verdict) -> Iterator[Line]:
    for line in read_lines(options.lines, options.recordings_folder):
        if line.custom_id in work.done:
            continue
        if isinstance(line, Line):
            yield line
        else:
            verdict.bad(line)


async def _answer_all(
    options: Options, url: str, lines: Iterator[Line], take: Callable[[Answer], None]
) -> None:
    """`concurrency` senders share the lines; the first error of one ends all of them."""
    patience, sounds = Patience(options.wait_s), Sounds(options.answers)

    async def work(http: httpx.AsyncClient) -> None:
        sender = Sender(http, patience, options.recordings_folder, sounds)
        for line in lines:
            take(await sender.answer(line))

    try:
        async with _connections(options, url) as connections, asyncio.TaskGroup() as group:
            for http in connections:
                group.create_task(work(http))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


@asynccontextmanager
async def _connections(options: Options, url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client a sender: httpx's pool looks through all its connections at each request."""
    headers = {"Accept-Encoding": "identity"}
    if options.api_key:
        headers["Authorization"] = f"Bearer {options.api_key}"
    tls = httpx.create_ssl_context(trust_env=False)
    clients = [
        httpx.AsyncClient(
            base_url=url, headers=headers, timeout=TIMEOUT_S, verify=tls, trust_env=False
        )
        for _ in range(options.concurrency)
    ]
    try:
        yield clients
    finally:
        for client in clients:
            await client.aclose()
