"""Orders of a small shop: what is in them, what they cost, when they are late."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta


@dataclass
class OrderLine:
    article: str
    quantity: int
    unit_price: float

    def line_total(self) -> float:
        return self.quantity * self.unit_price


@dataclass
class Order:
    customer: str
    placed_on: date
    lines: list[OrderLine] = field(default_factory=list)
    shipped_on: date | None = None

    def add_line(self, article: str, quantity: int, unit_price: float) -> None:
        self.lines.append(OrderLine(article, quantity, unit_price))

    def order_total(self) -> float:
        return sum(line.line_total() for line in self.lines)

    def is_overdue(self, today: date, allowed: timedelta = timedelta(days=3)) -> bool:
        return self.shipped_on is None and today - self.placed_on > allowed


def overdue_orders(orders: list[Order], today: date) -> list[Order]:
    return [order for order in orders if order.is_overdue(today)]


def total_by_customer(orders: list[Order]) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for order in orders:
        totals[order.customer] += order.order_total()
    return dict(totals)


def best_customer(orders: list[Order]) -> str | None:
    totals = total_by_customer(orders)
    return max(totals, key=totals.__getitem__) if totals else None
