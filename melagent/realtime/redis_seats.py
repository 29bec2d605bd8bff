"""Seats in Redis: those of a room in one hash, those of an instance in another, and when each instance was last seen.

Each change is one script, so that nobody sees half of it, and goes by the clock of the server. A seat's text is the
same in both hashes; the field is the peer in that of the room, and workflow and peer in that of the instance.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from melagent.domain.seats import Seat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from melagent.realtime.seats import Counts

HUBS = "melagent:hubs"
ROOM = "melagent:seats:room:"
INSTANCE = "melagent:seats:instance:"
CALL_SECONDS = 2.0

NOW = "local time = redis.call('TIME') local now = time[1] * 1000000 + time[2] "

TOUCH = f"""{NOW}
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == false and ARGV[2] == '' then return 0 end
redis.call('ZADD', KEYS[1], now, ARGV[1])
return 1
"""
"""The instance; anything behind it registers one that is not known."""

PUT = f"""{NOW}
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == false then return false end
local taken = {{}}
for i = 2, #ARGV do
    local seat = cjson.decode(ARGV[i])
    seat.joined_at = seat.joined_at or string.format('%.0f', now)
    local room, field = '{ROOM}' .. seat.workflow_id, seat.workflow_id .. ' ' .. seat.peer
    local before = redis.call('HGET', room, seat.peer)
    if before then before = cjson.decode(before) end
    if not before or tonumber(before.joined_at) <= tonumber(seat.joined_at) then
        if before then redis.call('HDEL', '{INSTANCE}' .. before.instance, field) end
        local text = cjson.encode(seat)
        redis.call('HSET', room, seat.peer, text)
        redis.call('HSET', '{INSTANCE}' .. seat.instance, field, text)
        taken[#taken + 1] = seat.owner
        taken[#taken + 1] = seat.joined_at
    end
end
return taken
"""

REMOVE = f"""
for i = 1, #ARGV do
    local seat = cjson.decode(ARGV[i])
    local held = redis.call('HGET', '{ROOM}' .. seat.workflow_id, seat.peer)
    if held and cjson.decode(held).owner == seat.owner then
        redis.call('HDEL', '{ROOM}' .. seat.workflow_id, seat.peer)
        redis.call('HDEL', '{INSTANCE}' .. seat.instance, seat.workflow_id .. ' ' .. seat.peer)
    end
end
"""

TAKE_AWAY = f"""
local gone = {{}}
for _, instance in ipairs(instances) do
    local seats = redis.call('HVALS', '{INSTANCE}' .. instance)
    for _, text in ipairs(seats) do
        local seat = cjson.decode(text)
        redis.call('HDEL', '{ROOM}' .. seat.workflow_id, seat.peer)
        gone[#gone + 1] = text
    end
    redis.call('DEL', '{INSTANCE}' .. instance)
    redis.call('ZREM', KEYS[1], instance)
end
return gone
"""

LEAVE = "local instances = ARGV" + TAKE_AWAY

SWEEP = f"""{NOW}
local before = string.format('(%.0f', now - ARGV[1] * 1000000)
local instances = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before)
{TAKE_AWAY}
"""


class RedisSeats:
    """Seats on the Redis (or Valkey) server of this URL."""

    AWAY: tuple[type[BaseException], ...] = (RedisError, OSError, TimeoutError)

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=CALL_SECONDS, socket_connect_timeout=CALL_SECONDS, socket_keepalive=True
        )
        self._touch = self._redis.register_script(TOUCH)
        self._put = self._redis.register_script(PUT)
        self._remove = self._redis.register_script(REMOVE)
        self._leave = self._redis.register_script(LEAVE)
        self._sweep = self._redis.register_script(SWEEP)

    async def open(self) -> None: ...

    async def close(self) -> None:
        await self._redis.aclose()

    async def touch(self, instance: str) -> bool:
        return bool(await self._touch(keys=[HUBS], args=[instance, ""]))

    async def register(self, instance: str) -> None:
        await self._touch(keys=[HUBS], args=[instance, "new"])

    async def put(self, instance: str, given: Sequence[Seat]) -> dict[str, datetime] | None:
        answer = await self._put(keys=[HUBS], args=[instance, *map(_text, given)])
        if answer is None:
            return None
        return {owner.decode(): _moment(int(at)) for owner, at in zip(answer[::2], answer[1::2], strict=True)}

    async def remove(self, left: Sequence[Seat]) -> None:
        await self._remove(args=list(map(_text, left)))

    async def leave(self, instance: str) -> None:
        await self._leave(keys=[HUBS], args=[instance])

    async def sweep(self, seconds: float) -> list[Seat]:
        return _seats(await self._sweep(keys=[HUBS], args=[seconds]))

    async def of_rooms(self, workflow_ids: Collection[UUID]) -> list[Seat]:
        pipeline = self._redis.pipeline(transaction=False)
        for workflow_id in workflow_ids:
            pipeline.hvals(f"{ROOM}{workflow_id}")
        found = [seat for texts in await pipeline.execute() for seat in _seats(texts)]
        return sorted(found, key=lambda seat: (seat.workflow_id, seat.joined_at, seat.peer))

    async def page(self, after: tuple[UUID, str], limit: int) -> list[Seat]:
        found = [seat for seats in (await self._by_instance()).values() for seat in seats]
        later = (seat for seat in found if (seat.workflow_id, seat.peer) > after)
        return sorted(later, key=lambda seat: (seat.workflow_id, seat.peer))[:limit]

    async def count(self) -> Counts:
        by_instance = await self._by_instance()
        return [
            (instance, len(seats), len({seat.workflow_id for seat in seats}))
            for instance, seats in sorted(by_instance.items())
        ]

    async def _by_instance(self) -> dict[str, list[Seat]]:
        found: list[Any] = await self._redis.zrange(HUBS, 0, -1)
        instances = [name.decode() for name in found]
        pipeline = self._redis.pipeline(transaction=False)
        for instance in instances:
            pipeline.hvals(INSTANCE + instance)
        texts = await pipeline.execute() if instances else []
        return {instance: _seats(each) for instance, each in zip(instances, texts, strict=True)}


def _text(seat: Seat) -> bytes:
    at = seat.joined_at
    micros = None if at is None else str(round(at.timestamp() * 1_000_000))
    told = {name: getattr(seat, name) for name in ("peer", "owner", "instance", "person_id", "name", "color")}
    return orjson.dumps({**told, "workflow_id": str(seat.workflow_id)} | ({"joined_at": micros} if micros else {}))


def _seats(texts: Iterable[bytes]) -> list[Seat]:
    return [_seat(orjson.loads(text)) for text in texts]


def _seat(told: dict[str, str]) -> Seat:
    known = {**told, "workflow_id": UUID(told["workflow_id"]), "joined_at": _moment(int(told["joined_at"]))}
    return Seat(**known)  # type: ignore[arg-type]  # the fields that `_text` has written


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, UTC)
