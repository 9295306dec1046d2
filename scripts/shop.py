"""A shop whose orders go through a queue, for the picture of `mproc top`."""

from __future__ import annotations

from typing import Any

from ring import pose

import mproc


def take_orders(orders: Any) -> None:
    for number in range(10**9):
        orders.put((number, "a teapot"))


def pack(orders: Any, parcels: Any, counter: Any) -> None:
    while True:
        number, what = orders.get()
        if number % 1000 == 0:
            with counter:
                parcels.put({"order": number, "what": what * 50})


def main() -> None:
    context = mproc.get_context("fork")
    orders, parcels = context.Queue(5000, name="orders"), context.Queue(name="parcels")
    counter = context.Lock(name="counter")
    made = [
        ("web", take_orders, (orders,)),
        ("packer-1", pack, (orders, parcels, counter)),
        ("packer-2", pack, (orders, parcels, counter)),
    ]
    children = [context.Process(target=f, args=a, name=n, daemon=True) for n, f, a in made]
    pose(children)


if __name__ == "__main__":
    main()
