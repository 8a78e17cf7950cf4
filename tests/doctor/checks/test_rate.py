from tests.doctor.setups import Plain


def test_a_rate_a_hundred_times_too_high_is_found(doctor):
    assert doctor.only("rate", net=Plain(), rate=0.01).severity == "pass"
    finding = doctor.only("rate", net=Plain(), rate=0.01 * 100)
    assert finding.severity == "fail"
    assert "model.optimizer" in finding.cure


def test_a_rate_far_too_low_is_warned_of(doctor):
    report = doctor.report("rate", net=Plain(), rate=1e-5)
    assert [f.severity for f in report.findings] == ["warn"], report.findings
    assert report.figures["rate"]["suggested"] > 100 * 1e-5
