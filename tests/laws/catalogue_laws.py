"""The laws of contracts.catalogue.Catalogue. Inherit, and give a `catalogue` fixture."""


class CatalogueLaws:
    def test_what_was_put_is_got(self, catalogue):
        document = {"digest": "sha256:00", "nested": {"list": [1, 2.5, None, True, "ü"]}}
        catalogue.put("plan", "p1", document)
        assert catalogue.get("plan", "p1") == document

    def test_a_missing_key_is_none(self, catalogue):
        assert catalogue.get("plan", "p1") is None

    def test_the_same_key_replaces_and_becomes_the_newest(self, catalogue):
        catalogue.put("plan", "p1", {"n": 1})
        catalogue.put("plan", "p2", {"n": 2})
        catalogue.put("plan", "p1", {"n": 3})
        assert list(catalogue.list("plan")) == [("p1", {"n": 3}), ("p2", {"n": 2})]

    def test_kinds_do_not_mix(self, catalogue):
        catalogue.put("plan", "x", {"n": 1})
        catalogue.put("facts", "x", {"n": 2})
        assert catalogue.get("plan", "x") == {"n": 1}
        assert list(catalogue.list("facts")) == [("x", {"n": 2})]

    def test_what_was_dropped_is_missing(self, catalogue):
        catalogue.put("plan", "p1", {"n": 1})
        catalogue.put("facts", "p1", {"n": 2})
        for _ in range(2):
            catalogue.drop("plan", "p1")
        assert catalogue.get("plan", "p1") is None
        assert catalogue.get("facts", "p1") == {"n": 2}

    def test_list_is_newest_first_and_limited(self, catalogue):
        for number in range(5):
            catalogue.put("approval", f"a{number}", {"n": number})
        assert [key for key, _ in catalogue.list("approval", limit=2)] == ["a4", "a3"]

    def test_a_prefix_is_literal(self, catalogue):
        for key in ("run%1", "run_1", "run-1", "RUN-1"):
            catalogue.put("tour", key, {})
        assert [key for key, _ in catalogue.list("tour", prefix="run_")] == ["run_1"]
        assert [key for key, _ in catalogue.list("tour", prefix="run%")] == ["run%1"]
        assert [key for key, _ in catalogue.list("tour", prefix="run-")] == ["run-1"]
