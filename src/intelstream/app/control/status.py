"""What every stage does, and why."""

import os
from typing import Any

from intelstream.app.control.instance import Instance
from intelstream.runtime.status import StageStatus


async def status(instance: Instance) -> dict[str, Any]:
    """Return the state of every stage, and of the server."""
    trouble = instance.transport.trouble
    stages = instance.pipeline.stages
    return {
        "pipeline": instance.pipeline.name,
        "server": {"pid": instance.server_pid(), "trouble": str(trouble) if trouble else None},
        "workers": [{"name": "main", "pid": os.getpid(), "restarts": 0}, *instance.crew()],
        "stages": [_stage(one, stages[name].use) for name, one in instance.site.statuses.items() if name in stages],
    }


def _stage(status: StageStatus, use: str) -> dict[str, Any]:
    return {"stage": status.name, "use": use, **status.shown()}
