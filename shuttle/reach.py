"""What a replica reaches, as it tells the others: each Jenkins controller, and the object store."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Reach:
    """For how many seconds each was unreachable when the replica last showed that it lives; 0 = it is reached.

    `object_store` None = the replica has not told it, because its version does not.
    """

    object_store: float | None = None
    controllers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read what `text` wrote."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """As it is recorded; in whole seconds, to keep the text short."""
        rounded = {name: round(seconds) for name, seconds in self.controllers.items()}
        store = None if self.object_store is None else round(self.object_store)
        return json.dumps(asdict(Reach(store, rounded)))

    @property
    def is_whole(self) -> bool:
        """Whether builds can be run: the object store and some controller are reached."""
        return self.object_store == 0 and 0 in self.controllers.values()

    def is_cut_off(self, seconds: float) -> bool:
        """Whether neither the object store nor any controller has been reached for that long."""
        return self.object_store is not None and min([self.object_store, *self.controllers.values()]) >= seconds

    def lacks(self, controller: str, seconds: float) -> bool:
        """Whether the controller is not listed by the replica, or has been unreachable for that long."""
        return self.object_store is not None and self.controllers.get(controller, seconds) >= seconds
