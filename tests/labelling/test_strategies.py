"""Which clip is asked: properties that hold for whatever a head says, and what the head is judged on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedx.errors import ParameterError
from embedx.labelling import STRATEGIES, simulate
from embedx.labelling.asking import RANDOM_EVERY, Asker
from embedx.labelling.learning import UNKNOWN, group_folds, learn
from embedx.labelling.strategies import View, draw_order, margins
from embedx.manifest import Source
from embedx.testing import make_dataset

PROBA = st.tuples(st.integers(1, 30), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0.001, 1.0))
)


@given(PROBA, st.randoms(use_true_random=False))
def test_a_strategy_chooses_from_the_pool_whatever_is_thought(values, random):
    proba = values / values.sum(axis=1, keepdims=True)
    n = len(proba)
    pool = np.array(sorted(random.sample(range(n), random.randint(1, n))))
    distance = np.array([random.uniform(0, 2) for _ in range(n)])
    order = np.array(random.sample(range(n), n))
    for known in (proba, None):
        view = View(known, distance, order)
        chosen = {name: choose(pool, view) for name, choose in STRATEGIES.items()}
        assert set(chosen.values()) <= set(pool.tolist())
        assert order[chosen["random"]] == order[pool].min()
    assert (
        margins(proba[pool]).max() == margins(proba[[STRATEGIES["uncertain"](pool, View(proba, distance, order))]])[0]
    )
    assert ((margins(proba) >= 0) & (margins(proba) <= 1)).all()


def test_of_the_least_sure_the_one_unlike_all_labelled_is_taken():
    proba = np.array([[0.5, 0.5]] * 12 + [[0.99, 0.01]] * 200)
    distance = np.zeros(212)
    distance[7], distance[100] = 0.5, 2.0
    assert STRATEGIES["uncertain+diverse"](np.arange(212), View(proba, distance, np.arange(212))) == 7
    assert STRATEGIES["uncertain+diverse"](np.arange(212), View(None, distance, np.arange(212))) == 100


@given(st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=30), st.data())
def test_a_random_order_hangs_on_names_alone(names, data):
    """Clips that come later or are listed in another order leave the others in theirs."""
    listed = [Source(name) for name in sorted(names)]
    whole = draw_order(listed)
    assert sorted(whole) == list(range(len(listed)))
    some = data.draw(st.lists(st.sampled_from(listed), unique=True, min_size=1))
    place = dict(zip(listed, whole, strict=True))
    part = draw_order(some)
    assert [some[i] for i in np.argsort(part)] == sorted(some, key=place.__getitem__)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60))
def test_groups_stay_whole_in_at_most_five_parts(groups):
    folds = group_folds([f"g{group}" for group in groups], np.arange(len(groups)))
    assert len(set(folds.tolist())) == folds.max() + 1 == min(5, len(set(groups)))
    assert all(len({fold for fold, group in zip(folds, groups, strict=True) if group == one}) == 1 for one in groups)


def test_what_is_judged_on_is_a_random_sample_whatever_was_labelled_beside_it():
    dataset = make_dataset(n=60)
    asker = Asker(dataset)
    has_label, nothing = np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)
    for turn in range(30):
        row, why = asker.next(turn, ~has_label, None)
        assert (why == "random") == (turn % RANDOM_EVERY == 0)
        has_label[row] = True
        asker.note([row])
    drawn = asker.drawn(has_label, nothing)
    assert len(drawn) >= 6
    assert sorted(asker.order[drawn]) == list(range(len(drawn)))  # the first of the order, none left out
    passed = nothing.copy()
    passed[drawn[0]] = True
    assert drawn[0] not in asker.drawn(has_label, passed)
    assert len(asker.drawn(has_label, passed)) >= len(drawn) - 1


def test_held_out_means_that_no_clip_of_the_group_was_heard():
    """A class that is in one group alone is never said of that group's clips."""
    dataset = make_dataset(n=60, gap=8.0)
    groups, codes = np.asarray(dataset.groups), np.unique(np.asarray(dataset.y), return_inverse=True)[1]
    own = groups == groups[0]
    codes[own] = 3
    folds = group_folds(groups, np.arange(60))
    learned = learn(dataset.average_layers(), codes, folds, 4)
    assert (learned.said[own] != 3).all()
    assert learned.held_out[own, 3].max() == 0 < learned.proba[own, 3].min()
    assert (learned.said[~own] == codes[~own]).mean() > 0.8


@pytest.mark.parametrize("n_known", [0, 1])
def test_without_two_classes_there_is_no_head(n_known):
    dataset = make_dataset(n=20)
    codes = np.full(20, UNKNOWN)
    codes[:n_known] = 0
    learned = learn(dataset.average_layers(), codes, group_folds(dataset.groups, np.arange(20)), 1)
    assert learned.proba is None
    assert set(learned.said.tolist()) <= {0, UNKNOWN}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_simulation_asks_no_clip_twice_and_knows_no_tested_one(strategy):
    dataset = make_dataset(n=72)
    pool, test = dataset.take(range(48)), dataset.take(range(48, 72))
    found = simulate(pool, test, strategy=strategy, n_labels=100, every=8, told_after=[40])
    assert sorted(found.asked) == list(range(48))
    assert found.n_labels.tolist() == [8, 16, 24, 32, 40, 48]
    assert found.told[0].n_labels == 40
    again = simulate(pool, test.relabel(["class 0"] * 24), strategy=strategy, n_labels=100, every=8)
    assert again.asked.tolist() == found.asked.tolist()


def test_an_unknown_strategy_is_one_line():
    dataset = make_dataset(n=12)
    with pytest.raises(ParameterError, match="uncertain"):
        simulate(dataset, dataset, strategy="uncertian")
