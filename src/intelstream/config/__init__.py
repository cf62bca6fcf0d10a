"""From YAML files to checked specs, with every fault in one list."""

from intelstream.config.host import load_host
from intelstream.config.pipeline import Loaded, load

__all__ = ["Loaded", "load", "load_host"]
