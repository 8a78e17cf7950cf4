def test_a_batch_that_does_not_fit_is_told(doctor, monkeypatch):
    assert doctor.only("memory").severity == "pass"
    monkeypatch.setattr("seg.doctor.checks.memory.free_bytes", lambda: 2**20)
    report = doctor.report("memory")
    assert report.findings[0].severity == "fail"
    assert "estimated" in report.findings[0].text
    monkeypatch.setattr("seg.doctor.checks.memory.free_bytes", lambda: None)
    assert doctor.only("memory").severity == "skip"


def test_the_largest_size_is_found_by_doubling_and_halving():
    from seg.doctor.checks.memory import LARGEST, largest_that

    for limit in (0, 1, 2, 3, 7, 24, 100, LARGEST - 1, LARGEST):
        tried: list[int] = []
        assert largest_that(lambda size, limit=limit, tried=tried: tried.append(size) or size <= limit) == limit
        assert len(tried) <= 22
        assert len(set(tried)) == len(tried)
    assert largest_that(lambda size: True, lambda: False) == 0
