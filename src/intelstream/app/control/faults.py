"""How a request to a running instance may fail, on both sides of the socket."""

from intelstream.errors import IntelstreamError


class NotRunning(IntelstreamError):
    """No daemon answers in the state directory."""


class NotFoundHere(IntelstreamError):
    """The running pipeline has nothing of this name."""


class Refused(IntelstreamError):
    """What was asked for makes no sense, or would do what nobody wants."""
