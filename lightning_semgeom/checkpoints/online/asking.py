"""Requests to the Hub: tried again where that may help, and what is wrong told in plain words.

A token is where huggingface_hub keeps it, and is sent by its headers alone; no text that is told
has it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from tqdm.auto import tqdm

Answer = TypeVar("Answer")

TRIES = 5
FIRST_WAIT = 1.0
"""Seconds before the second try where the Hub does not say how long; then twice as many."""
_LONGEST_WAIT = 320.0  # its limits count requests in windows of five minutes
_TOLD = 10.0  # seconds; who waits for less need not know
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_WINDOW = re.compile(r"\bt=(\d+)")  # of `RateLimit: "api";r=0;t=55`
_silent: set[str] = set()
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


class HubError(OSError):
    """What the Hub does not give, in words that go on after its address."""


def ask(what: str, call: Callable[[], Answer]) -> Answer:
    """What a call to the Hub answers.

    Args:
        what: is asked for, in words; for the message.
        call: raises as huggingface_hub does.

    Raises:
        HubError: if it fails, and five times where the fault may pass: limits of the rate, servers
            that are busy, connections that are cut. Where nothing was answered five times what
            is asked next is tried once, until there is an answer: a run has many revisions.
    """
    from huggingface_hub import constants

    tries = 1 if constants.ENDPOINT in _silent else TRIES
    for tried in count(1):
        try:
            answer = call()
            _silent.discard(constants.ENDPOINT)
            return answer
        except Exception as fault:  # clients of HTTP have no base class in common
            if tried == tries or not _may_pass(fault):
                if _may_pass(fault) and _status(fault) is None:
                    _silent.add(constants.ENDPOINT)
                raise HubError(f"{what}: {_words(fault, tried)}") from None
            wait = _wait(fault, tried)
        if wait >= _TOLD:
            tqdm.write(f"The Hub asks to wait for {wait:.0f} s.", file=sys.stderr)
        time.sleep(wait)
    raise AssertionError("count() has no end")


def get(what: str, url: str, check: Callable[[Any], None] | None = None, **headers: str) -> Any:
    """The response to a GET, with the token where there is one.

    Other hosts, to which the Hub redirects, do not get the token: the client sees to that.

    Args:
        what: is asked for, in words.
        url: an address of the Hub.
        check: raises an OSError where the response is not whole; it is asked for again then.
        headers: beside those of huggingface_hub, with `_` for `-`.

    Raises:
        HubError: as `ask` does.
    """
    from huggingface_hub import constants, utils

    # What is not compressed on its way has the bytes that a range names.
    plain = {"Accept-Encoding": "identity"} | {k.replace("_", "-"): v for k, v in headers.items()}
    client: Any = utils  # which does not say what of it is public

    def call() -> Any:
        headers = client.build_hf_headers() | plain
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        response = client.get_session().get(url, headers=headers, timeout=timeout)
        client.hf_raise_for_status(response)
        if check is not None:
            check(response)
        return response

    return ask(what, call)


def _status(fault: Exception) -> int | None:
    found: int | None = getattr(getattr(fault, "response", None), "status_code", None)
    return found


def _may_pass(fault: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(fault, OfflineModeIsEnabled):
        return False
    status = _status(fault)
    if status is not None:
        return status in _PASSING
    return isinstance(fault, OSError) or type(fault).__module__.startswith("httpx")


def _wait(fault: Exception, tried: int) -> float:
    """Seconds: those that the Hub says, or ever more."""
    headers = getattr(getattr(fault, "response", None), "headers", {})
    said = headers.get("Retry-After", "")
    window = _WINDOW.search(headers.get("RateLimit", ""))
    if said.isdecimal():
        return min(float(said), _LONGEST_WAIT)
    if window and _status(fault) == 429:
        return min(float(window[1]) + 1, _LONGEST_WAIT)
    return min(FIRST_WAIT * float(2 ** (tried - 1)), _LONGEST_WAIT)


def _words(fault: Exception, tried: int) -> str:
    """Why it failed, and what to do, in one line."""
    from huggingface_hub import errors

    status = _status(fault)
    if isinstance(fault, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and this is asked of the Hub each time."
    if isinstance(fault, errors.GatedRepoError):
        return f"it is gated: ask for access on its page, then {_LOG_IN}."
    if isinstance(fault, errors.RepositoryNotFoundError):
        return f"there is no such repository, or it is private: check its name, or {_LOG_IN}."
    if isinstance(fault, errors.RevisionNotFoundError):
        return "there is no such revision."
    if isinstance(fault, errors.EntryNotFoundError):
        return "there is no such file."
    if status in (401, 403):
        return f"access is refused ({status}): {_LOG_IN}."
    if status == 429:
        return (
            f"the Hub limits the rate of requests, {tried} times in a row. Call it again later: "
            "what was fetched is kept."
        )
    if status is not None:
        return f"the Hub answers with status {status}{_tries(tried)}."
    if isinstance(fault, OSError) or type(fault).__module__.startswith("httpx"):
        return f"no answer from the Hub{_tries(tried)} ({without_token(fault)})."
    return f"{type(fault).__name__}: {without_token(fault)}"


def _tries(tried: int) -> str:
    return f", {tried} times in a row" if tried > 1 else ""


def without_token(fault: Exception) -> str:
    """The first line of what was raised: clients may quote a header that they do not like."""
    from huggingface_hub import get_token

    text, token = str(fault).partition("\n")[0], get_token()
    return text.replace(token, "***") if token else text
