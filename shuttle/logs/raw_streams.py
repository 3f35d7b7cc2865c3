"""The raw streams of one log: how much of each has been taken, and the transform that turns its bytes into text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shuttle.logs.replay import Replay, StreamKey
from shuttle.logs.stage_places import StagePlaces
from shuttle.logs.stream_transform import StreamTransform
from shuttle.logs.transform import LogComposer

# Limited, because every checkpoint contains the state of every stream.
MAX_STREAMS = 200


@dataclass(slots=True)
class RawStream:
    """One raw stream; `taken` is the raw offset after the last byte that was fed to `transform`."""

    branch: str
    transform: StreamTransform
    places: StagePlaces
    taken: int = 0
    # Raw bytes before this offset belong to recorded segments.
    recorded_stop: int = 0
    finished: bool = False


class RawStreams:
    """The streams by their key. A stream begins at its offset in `states`, which are those of a checkpoint, or at 0."""

    def __init__(
        self,
        log: LogComposer,
        replay: Replay,
        states: Mapping[str, Mapping[str, Any]],
        recorded_stops: Mapping[StreamKey, int],
    ) -> None:
        """`recorded_stops` and `replay` have raw offsets up to which streams are recorded; the higher one counts."""
        self._log = log
        self._replay = replay
        self._states = states
        self._recorded_stops = recorded_stops
        self._streams: dict[StreamKey, RawStream] = {}

    def __getitem__(self, key: StreamKey) -> RawStream:
        """A stream that `get` has returned before."""
        return self._streams[key]

    def get(self, key: StreamKey, branch: str) -> RawStream:
        """The stream; the first call makes it."""
        stream = self._streams.get(key)
        if stream is None:
            state = self._states.get(stream_name(key), {})
            transform = self._log.stream(branch, state.get("transform"))
            recorded = max(self._recorded_stops.get(key, 0), self._replay.recorded_stop(key))
            taken = state.get("offset", 0)
            places = StagePlaces(taken, state.get("places"))
            stream = RawStream(branch, transform, places, taken, recorded, state.get("finished", False))
            self._streams[key] = stream
        return stream

    def has_room_for(self, key: StreamKey) -> bool:
        """Whether the stream is known, or one more may begin."""
        if key in self._streams:
            return True
        known = {*self._states, *map(stream_name, self._streams)}
        return stream_name(key) in known or len(known) < MAX_STREAMS

    def items(self) -> Iterable[tuple[StreamKey, RawStream]]:
        """The streams that have begun."""
        return self._streams.items()

    def values(self) -> Iterable[RawStream]:
        """The streams that have begun."""
        return self._streams.values()

    def states(self) -> dict[str, dict[str, Any]]:
        """The states of all streams, for a checkpoint. Until a stream begins, it is the one that `__init__` got."""
        states = {name: dict(state) for name, state in self._states.items()}
        for key, stream in self._streams.items():
            states[stream_name(key)] = {
                "offset": stream.taken - stream.transform.held_bytes,
                "finished": stream.finished,
                "transform": stream.transform.state(),
                "places": stream.places.state(),
            }
        return states


def stream_name(key: StreamKey) -> str:
    """The stream's name in a checkpoint."""
    return f"{key[0]}/{key[1]}"
