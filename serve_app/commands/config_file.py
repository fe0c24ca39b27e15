"""Reads the YAML of `configs/`; a file that cannot be used is refused in one line."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from deployments.errors import ConfigError
from deployments.model_files import find_path
from serve_app.whole_files import reason

# Ray Serve's own, for a file that names none (`ray.serve.schema.HTTPOptionsSchema`)
DEFAULT_HOST = "0.0.0.0"
DEFAULT_PORT = 8000
EVERY_INTERFACE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Configuration:
    """A Serve configuration of our application, or a file of its `args` alone."""

    path: Path
    document: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """What `AppConfig` is made of.

        Raises:
            ConfigError: the file holds no application with `args`.
        """
        if "applications" not in self.document:
            return dict(self.document)
        applications = self.document["applications"]
        first = applications[0] if isinstance(applications, list) and applications else None
        arguments = first.get("args") if isinstance(first, Mapping) else None
        if not isinstance(arguments, Mapping):
            raise ConfigError(f"the configuration {self.path} holds no application's args")
        return dict(arguments)

    @property
    def host(self) -> str:
        """The address that HTTP listens on.

        Raises:
            ConfigError: `http_options` is no mapping, or its host no text.
        """
        host = self._http_options().get("host", DEFAULT_HOST)
        if not isinstance(host, str) or not host:
            raise ConfigError(f"the configuration {self.path}: http_options.host {host!r} is none")
        return host

    @property
    def port(self) -> int:
        """The port that HTTP listens on.

        Raises:
            ConfigError: `http_options` is no mapping, or its port none that there can be.
        """
        port = self._http_options().get("port", DEFAULT_PORT)
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 1 << 16:
            raise ConfigError(
                f"the configuration {self.path}: http_options.port must be 1 to 65535, not {port!r}"
            )
        return port

    @property
    def page_url(self) -> str:
        """Where a browser on this machine finds the page: only there it gives a microphone.

        Raises:
            ConfigError: as `host` and `port` do.
        """
        host = "localhost" if self.host in EVERY_INTERFACE else self.host
        netloc = f"[{host}]" if ":" in host else host
        return f"http://{netloc}:{self.port}{self._route_prefix().rstrip('/')}/"

    def listening_at(self, host: str | None, port: int | None) -> "Configuration":
        """The same graph at another address; None leaves what the file says.

        Raises:
            ConfigError: as `host` does.
        """
        chosen = {"host": host, "port": port}
        options = {name: value for name, value in chosen.items() if value is not None}
        if not options:
            return self
        document = {**self.document, "http_options": {**self._http_options(), **options}}
        return replace(self, document=document)

    def _route_prefix(self) -> str:
        applications = self.document.get("applications")
        first = applications[0] if isinstance(applications, list) and applications else None
        prefix = first.get("route_prefix") if isinstance(first, Mapping) else None
        return prefix if isinstance(prefix, str) else "/"

    def _http_options(self) -> Mapping[str, Any]:
        options = self.document.get("http_options", {})
        if not isinstance(options, Mapping):
            found = "empty" if options is None else f"{options!r}"
            raise ConfigError(
                f"the configuration {self.path}: http_options is {found}; it takes host and port"
            )
        return options


def read_configuration(path: Path) -> Configuration:
    """The configuration at `path`; `configs/…` is found from any folder.

    Raises:
        ConfigError: the file is not there, or is not a YAML mapping in UTF-8.
    """
    found = find_path(path)
    try:
        document = yaml.safe_load(found.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be read: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration {path} is not UTF-8: {error.reason}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"the configuration {path} is not YAML: {yaml_problem(error)}") from error
    if document is None:
        raise ConfigError(f"the configuration {path} is empty")
    if not isinstance(document, Mapping):
        raise ConfigError(f"the configuration {path} holds no keys, only {document!r:.40}")
    return Configuration(found, document)


def yaml_problem(error: Exception) -> str:
    """What a YAML parser complains of, and where, in one line."""
    problem = getattr(error, "problem", None)
    mark = getattr(error, "problem_mark", None)
    if problem is None:
        return " ".join(str(error).split()) or type(error).__name__
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{where}{problem}"
