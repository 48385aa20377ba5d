from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomind.training.order import SHARDS_AT_ONCE, EpochOrder, FixedOrder

sizes = st.integers(1, 60), st.integers(1, 17), st.integers(1, 5)


@given(*sizes, st.integers(0, 3))
def test_each_photo_is_seen_once_an_epoch_by_one_process(photos: int, batch: int, world: int, epoch: int) -> None:
    orders = [EpochOrder(photos, batch, seed=7, rank=rank, world_size=world) for rank in range(world)]
    for order in orders:
        order.epoch = epoch
    batches = [list(order) for order in orders]
    assert {len(own) for own in batches} == {orders[0].batches}  # a process more or less would wait for ever
    assert sorted(draw.photo for own in batches for some in own for draw in some) == list(range(photos))
    together = [[draw for rank in batches for draw in rank[step]] for step in range(orders[0].batches)]
    alone = EpochOrder(photos, batch, seed=7)
    alone.epoch = epoch
    assert [sorted(some) for some in together] == [sorted(some) for some in alone]


@given(*sizes)
def test_an_epoch_goes_on_where_it_stopped(photos: int, batch: int, skipped: int) -> None:
    whole = list(EpochOrder(photos, batch, seed=1))
    rest = EpochOrder(photos, batch, seed=1)
    rest.first_batch = min(skipped, rest.batches)
    assert list(rest) == whole[rest.first_batch :]
    assert len(rest) == len(whole) - rest.first_batch


def test_every_epoch_and_every_seed_has_its_own_order_and_changes() -> None:
    order = EpochOrder(100, 100, seed=0)
    (first,) = order
    order.epoch = 1
    (second,) = order
    (other,) = EpochOrder(100, 100, seed=1)
    assert [d.photo for d in first] != [d.photo for d in second] != [d.photo for d in other]
    assert len({draw.seed for draw in (*first, *second, *other)}) == 300


def test_photos_are_drawn_by_their_weights() -> None:
    order = EpochOrder(1000, 1000, seed=0, weights=np.repeat([1 / 900, 1 / 100], [900, 100]))
    (draws,) = order
    assert np.mean([draw.photo >= 900 for draw in draws]) == pytest.approx(0.5, abs=0.05)


@given(st.integers(1, 40), st.integers(1, 200))
def test_few_shards_are_open_at_once_and_each_photo_is_seen_once(shards: int, photos: int) -> None:
    where = np.arange(photos) * shards // photos
    (draws,) = EpochOrder(photos, photos, seed=3, shards=where)
    seen = where[[draw.photo for draw in draws]]
    assert sorted(draw.photo for draw in draws) == list(range(photos))
    for shard in np.unique(seen):
        first, last = np.flatnonzero(seen == shard)[[0, -1]]
        assert len(np.unique(seen[first : last + 1])) <= SHARDS_AT_ONCE


@given(*sizes)
def test_judged_photos_come_in_order_and_once(photos: int, batch: int, world: int) -> None:
    for rank in range(world):
        order = FixedOrder(photos, batch, rank=rank, world_size=world)
        assert [draw.photo for some in order for draw in some] == list(range(rank, photos, world))
        assert len(list(order)) == len(order)
