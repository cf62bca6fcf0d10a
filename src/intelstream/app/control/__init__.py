"""What operators ask of a running instance and tell it: one function per command, and the socket that carries it.

Command line and API call the same functions, each on an `Instance`; over the socket commands use `ask` and `tell`.
"""

from intelstream.app.control.asking import SOCKET, ask, tell
from intelstream.app.control.faults import NotFoundHere, NotRunning, Refused
from intelstream.app.control.instance import MOST, Instance
from intelstream.app.control.listening import listening

__all__ = ["MOST", "SOCKET", "Instance", "NotFoundHere", "NotRunning", "Refused", "ask", "listening", "tell"]
