"""Stores that tests reach: a real S3 server on this machine, and one in memory that can fail."""

import contextlib
import io
import socket
import threading

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


class Gate:
    """A port before a server: closed it takes connections and requests, and never answers.

    What it was asked meanwhile goes to the server once it is open.
    """

    def __init__(self, port):
        self._target, self._sockets = ("127.0.0.1", port), []
        self._is_open = threading.Event()
        self._is_open.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._is_open.clear()

    def open(self):
        self._is_open.set()

    def stop(self):
        self.open()
        for one in (self._listening, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    pump = threading.Thread(target=self._pump, args=(source, target), daemon=True)
                    pump.start()

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._is_open.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


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
