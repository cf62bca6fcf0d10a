"""The Redis-compatible server that the daemon keeps alive, and the check of one that somebody else runs."""

from intelstream.runtime.server.call import Call, Connect
from intelstream.runtime.server.locks import StateDirectory, unusable
from intelstream.runtime.server.outer import check_outer
from intelstream.runtime.server.supervise import BundledServer

__all__ = ["BundledServer", "Call", "Connect", "StateDirectory", "check_outer", "unusable"]
