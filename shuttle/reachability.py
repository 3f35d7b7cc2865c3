"""Which Jenkins controllers a replica can reach, and whether it can reach the object store; recorded for the others."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Reachability:
    """The seconds for which the object store and each controller had been unreachable when the replica last raised its
    counter; 0 = reachable.

    `object_store` None = unknown, because the replica's version does not record it.
    """

    object_store: float | None = None
    controllers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read what `text` wrote."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """The text to record; in whole seconds, to keep it short."""
        rounded = {name: round(seconds) for name, seconds in self.controllers.items()}
        store = None if self.object_store is None else round(self.object_store)
        return json.dumps(asdict(Reachability(store, rounded)))

    @property
    def can_run_builds(self) -> bool:
        """Whether the object store and at least one controller are reachable."""
        return self.object_store == 0 and 0 in self.controllers.values()

    def is_cut_off(self, seconds: float) -> bool:
        """Whether neither the object store nor any controller has been reachable for that long."""
        return self.object_store is not None and min([self.object_store, *self.controllers.values()]) >= seconds

    def lacks(self, controller: str, seconds: float) -> bool:
        """Whether the replica does not list the controller, or has not reached it for that long."""
        return self.object_store is not None and self.controllers.get(controller, seconds) >= seconds
