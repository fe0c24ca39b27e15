"""`make test` runs beside a server: its Ray has ports and files of its own."""

import os

from serve_app.commands.serving.environment import PORTS, haproxy_files
from tests.haproxy import own_settings


def test_the_tests_share_no_port_and_no_file_with_a_server(tmp_path) -> None:
    settings = own_settings(tmp_path)
    assert set(settings) == {*PORTS, *haproxy_files(tmp_path)}
    for name, usual in PORTS.items():
        assert int(settings[name]) != usual
        assert int(os.environ[name]) != usual  # conftest.py has set them
