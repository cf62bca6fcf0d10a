"""Going over to the pipeline file as it is now."""

from typing import Any

from intelstream.app.control.instance import Instance
from intelstream.errors import CannotApply


async def reload(instance: Instance) -> dict[str, Any]:
    """Read the file again and apply it; return what was started, stopped and left alone.

    Raises:
        ConfigError: the file has faults, and nothing has changed.
        CannotApply: only a new start can do it.
    """
    if instance.reload is None:
        raise CannotApply("reading the pipeline file again: this daemon was given none")
    change = await instance.reload()
    return {"started": change.started, "stopped": change.stopped, "kept": change.kept}
