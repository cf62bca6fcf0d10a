"""Write fields where the rules of a file hold."""

from collections.abc import AsyncIterator
from typing import Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from intelstream import sdk
from intelstream.formats import rules
from intelstream.ontology import Event
from intelstream.ontology.event import EMPTY
from intelstream.sdk.types import ontology_of


class Params(sdk.Overwrite):
    file: sdk.PathUnder = Field(description="The rules, in JSON or YAML, as IntelMQ has them.")
    case_sensitive: bool = Field(True, description="Whether patterns tell capitals from small letters.")
    maximum_matches: int | None = Field(None, ge=1, description="Number of rules after which an event is done.")
    # Elsewhere never is the default; a rule that says what to write means it, here as with IntelMQ.
    overwrite: Literal["never", "always"] = Field(
        "always", description="Whether a rule replaces a value already there."
    )
    _rules: rules.Rules = PrivateAttr()

    @model_validator(mode="after")
    def _readable(self, info: ValidationInfo) -> Self:
        self._rules = rules.read(self.file, ontology_of(info), case_sensitive=self.case_sensitive)
        return self

    @property
    def rules(self) -> rules.Rules:
        """The rules of the file, as they were when the parameters were read."""
        return self._rules


class Modify(sdk.Expert[Params]):
    """Write fields where the rules of a file hold.

    A rule is `{rulename, if: {field: condition}, then: {field: value}}`. A condition is a regular expression, a number
    or boolean to be equal to, or empty for a field that has to be absent; all of a rule have to hold. A value may hold
    `{msg[field]}` and `{matches[field][group]}`; an empty one removes the field, and one that asks for what the event
    has not got leaves it as it was. Rules run in order, each on what those before it have written.
    """

    pure = True
    examples = (
        sdk.Example(
            {"malware.name": "zeus-p2p"},
            {"malware.name": "zeus", "comment": "p2p"},
            params={"file": "rules.yaml"},
            files={
                "rules.yaml": """\
- rulename: Zeus and its kin
  if: {malware.name: "^zeus-(.+)$"}
  then: {comment: "{matches[malware.name][1]}", malware.name: zeus}
"""
            },
        ),
    )

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        all_rules, most = self.params.rules, self.params.maximum_matches
        for event in batch:
            look, held = all_rules.look(event), 0
            for rule in all_rules:
                matches = look.matches(rule)
                if matches is None:
                    continue
                self._apply(rule, event, look, matches)
                held += 1
                if held == most:
                    break
            yield event

    def _apply(self, rule: rules.Rule, event: Event, look: rules.Look, matches: rules.Matches) -> None:
        for name, action in rule.actions.items():
            if name in event and not self.params.replaces:
                continue
            value = action
            if isinstance(action, rules.Template) and (value := action.filled(event, matches)) is None:
                continue
            if isinstance(value, str | None) and value in EMPTY:
                del event[name]
            else:
                event[name] = value
            look.forget(name)
