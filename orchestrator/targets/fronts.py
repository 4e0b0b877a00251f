"""Fronts of every kind behind one contract."""

from dataclasses import dataclass

from orchestrator.contracts.target import Front, FrontAnswer
from orchestrator.model.system import HaproxyFront, Route53Front


@dataclass(frozen=True)
class FrontsByKind:
    """contracts.target.Front for all systems: each call goes to the driver of the front's kind."""

    route53: Front[Route53Front]
    haproxy: Front[HaproxyFront]

    def current(self, front: Route53Front | HaproxyFront) -> FrontAnswer | None:
        if isinstance(front, HaproxyFront):
            return self.haproxy.current(front)
        return self.route53.current(front)

    def switch(self, front: Route53Front | HaproxyFront, address: str, *, key: str) -> FrontAnswer | None:
        if isinstance(front, HaproxyFront):
            return self.haproxy.switch(front, address, key=key)
        return self.route53.switch(front, address, key=key)

    def lower_ttl(self, front: Route53Front | HaproxyFront, ttl_seconds: int, *, key: str) -> FrontAnswer | None:
        if isinstance(front, HaproxyFront):
            return self.haproxy.lower_ttl(front, ttl_seconds, key=key)
        return self.route53.lower_ttl(front, ttl_seconds, key=key)

    def settle(self, front: Route53Front | HaproxyFront, *, key: str) -> None:
        if isinstance(front, HaproxyFront):
            self.haproxy.settle(front, key=key)
        else:
            self.route53.settle(front, key=key)
