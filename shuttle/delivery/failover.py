"""Statuses to the first of several receivers that takes them, in their order."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from shuttle.delivery import Answer, DueDelivery, Post
from shuttle.outgoing.hooks import kind_of, members_of, shown_host


@dataclass(frozen=True, slots=True)
class FailoverPost:
    """See `shuttle.delivery.Post`; each member has `decision_seconds` before it is the next one's turn."""

    posts: Mapping[str, Post]
    decision_seconds: float

    async def post(self, delivery: DueDelivery, at: datetime) -> Answer:
        """See the port; the answer is the taker's, or tells the errors of all, and their status if it is the same."""
        answers: dict[str, Answer] = {}
        for member in members_of(delivery.url):
            answer = await self._ask(replace(delivery, url=member), at)
            if answer.error is None:
                return answer
            answers[shown_host(member)] = answer
        errors = " ".join(f"{host}: {answer.error}" for host, answer in answers.items())
        codes = {answer.status_code for answer in answers.values()}
        # One member that says never again (410) does not speak for the others.
        return Answer(status_code=codes.pop() if len(codes) == 1 else None, error=errors)

    async def _ask(self, delivery: DueDelivery, at: datetime) -> Answer:
        try:
            async with asyncio.timeout(self.decision_seconds):
                return await self.posts[kind_of(delivery.url)].post(delivery, at)
        except TimeoutError:
            return Answer(error="The receiver did not answer within the time limit.")
