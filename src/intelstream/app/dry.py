"""Pipelines without consequences: the same stages and ways, but nothing is delivered to the outside."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from intelstream import catalog
from intelstream.runtime.spec import PipelineSpec, StageSpec

RECORDER: Final = "outputs.file"


def dry_outputs(
    spec: PipelineSpec, directory: Path, keep: Callable[[StageSpec], bool] = lambda _: False
) -> PipelineSpec:
    """Return the pipeline with every output replaced by one that records: JSON lines in `directory`, by its name.

    Those that `keep` tells stay as they are.
    """
    recorder = catalog.load(RECORDER)
    stages = dict(spec.stages)
    for name, one in spec.stages.items():
        if one.kind == "output" and not keep(one):
            params = recorder.Params.model_validate({"path": str(record_of(directory, name)), "raw": True})
            stages[name] = replace(one, use=RECORDER, stage=recorder, params=params)
    return replace(spec, stages=stages)


def record_of(directory: Path, output: str) -> Path:
    """Return the file in which a replaced output records."""
    return directory / f"{output}.jsonl"
