"""Stores that tests reach: a real S3 server on this machine, and one in memory that can fail."""

import io

from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer


class S3:
    """A server of its own, which keeps what it has while it is stopped."""

    def __init__(self):
        self.port, self._server = 0, None
        self.start()

    def start(self):
        if self._server is not None:
            return
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()

    def stop(self):
        if self._server is not None:
            self._server.stop()
        self._server = None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"


class Faulty(MemoryFileSystem):
    """Stands for `memory://`: it does not append, or is away for a while."""

    cachable = False
    appends, is_away = True, False

    def _open(self, path, mode="rb", **options):
        self._ask()
        if mode == "ab" and not Faulty.appends:
            raise io.UnsupportedOperation("File mode not supported")
        return super()._open(path, mode, **options)

    def info(self, path, **options):
        self._ask()
        return super().info(path, **options)

    def cat_file(self, path, **options):
        self._ask()
        return super().cat_file(path, **options)

    def _ask(self):
        if Faulty.is_away:
            raise OSError("the store is away")
