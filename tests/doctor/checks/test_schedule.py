import pytest


def test_the_schedule_is_that_of_the_run_and_ends_where_it_says(doctor):
    from seg.schedules import Poly

    report = doctor.report("schedule", rate=0.1, schedule=Poly(1.0, warmup=4, end=0.1), trainer={"max_steps": 11})
    assert report.figures["schedule"] == {
        "steps": 11,
        "first": pytest.approx(0.025),
        "highest": pytest.approx(0.1, rel=0.05),
        "last": pytest.approx(0.01),
    }
    assert report.findings[0].severity == "pass"


def test_the_schedule_of_a_run_that_time_limits_is_followed_over_its_time(doctor):
    from seg.schedules import Cosine

    limits = {"max_time": "00:01:00:00", "max_epochs": -1}
    report = doctor.report("schedule", rate=0.1, schedule=Cosine(end=0.2), trainer=limits)
    figures = report.figures["schedule"]
    assert (figures["steps"], figures["first"]) == (None, pytest.approx(0.1))
    assert figures["last"] == pytest.approx(0.02)


def test_a_warm_up_that_outlasts_the_run_is_warned_of(doctor):
    from seg.schedules import Constant

    finding = doctor.only("schedule", schedule=Constant(warmup=1000))
    assert finding.severity == "warn"
    assert "warm-up" in finding.cure
