import pytest

from seg.doctor.findings import Place
from seg.doctor.names import nearly_equal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "Cat"),
        ("cat", "cats"),
        ("traffic light", "traffic_light"),
        ("rat1", "rat2"),
        ("banana", "bananna"),
        ("laef", "leaf"),
        ("pedestrian", "pedestrain"),
    ],
)
def test_names_that_mean_one_thing_are_found(one, other):
    (finding,) = nearly_equal({one: (), other: (), "something else": ()})
    assert [place.where for place in finding.places] == [" / ".join(sorted((one, other)))]


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "car", "cow"),
        ("traffic light", "traffic sign"),
        ("train", "terrain"),
        ("boss", "bos"),
        ("left wing", "right wing"),
        ("grass", "glass"),
        ("bus", "us"),
    ],
)
def test_names_that_mean_different_things_are_left_alone(names):
    assert list(nearly_equal(dict.fromkeys(names, ()))) == []


def test_spelling_is_not_compared_where_somebody_thought_about_the_list():
    assert list(nearly_equal({"banana": (), "bananna": ()}, slips=False)) == []
    assert len(list(nearly_equal({"banana": (), "Bananas": ()}, slips=False))) == 1


def test_names_of_a_group_all_lead_to_its_most_frequent_one():
    uses = {name: [Place(f"{name}.json")] * number for name, number in (("Leaf", 1), ("leaf", 3), ("leafs", 1))}
    (finding,) = nearly_equal(uses | {"pot": [Place("pot.json")]})
    assert "aliases: {Leaf: leaf, leafs: leaf}," in finding.cure
