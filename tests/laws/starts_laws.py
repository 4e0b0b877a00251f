"""The laws of guarded starts on one host. Inherit, and give a `host` fixture that does what the tests ask of it.

host.look(), .guard(boot), .permit(boot, ticket), .fence(ticket), .unfence(ticket), .recover(ticket), .unguard() and
.power_cycle();
.may_start says whether what starts units there lets them. Orders that are not obeyed raise `Refused`.
"""

import pytest


class Refused(Exception):
    """The host did not do what it was told."""


class StartsLaws:
    def test_where_nobody_guards_units_start_with_the_host(self, host):
        assert not host.look()["guarded"]
        host.power_cycle()
        assert host.may_start

    def test_a_guarded_host_starts_what_it_likes_until_it_boots(self, host):
        host.guard(host.look()["boot"])
        assert host.may_start
        assert host.look()["guarded"]
        assert host.look()["permitted"]
        host.power_cycle()
        assert not host.may_start
        assert not host.look()["permitted"]

    def test_a_permit_is_for_this_boot_alone(self, host):
        host.guard(host.look()["boot"])
        host.power_cycle()
        host.permit(host.look()["boot"], 5)
        assert host.may_start
        host.power_cycle()
        assert not host.may_start

    def test_every_boot_has_another_name_and_keeps_it(self, host):
        names = []
        for _ in range(3):
            names.append(host.look()["boot"])
            assert host.look()["boot"] == names[-1]
            host.power_cycle()
        assert len(set(names)) == 3

    def test_a_permit_or_guard_for_a_boot_that_is_over_is_not_obeyed(self, host):
        seen = host.look()["boot"]
        host.guard(seen)
        host.power_cycle()
        for order in (lambda: host.permit(seen, 5), lambda: host.guard(seen)):
            with pytest.raises(Refused, match="has booted since"):
                order()
            assert not host.may_start

    def test_behind_a_fence_nothing_is_permitted(self, host):
        host.guard(host.look()["boot"])
        host.fence(3)
        for order in (lambda: host.permit(host.look()["boot"], 5), lambda: host.guard(host.look()["boot"])):
            with pytest.raises(Refused, match="fence"):
                order()
        assert not host.may_start

    def test_a_permit_that_comes_late_is_not_obeyed(self, host):
        host.guard(host.look()["boot"])
        host.fence(3)
        host.unfence(7)
        with pytest.raises(Refused):
            host.permit(host.look()["boot"], 5)

    def test_what_lets_a_side_serve_permits_it_in_this_boot(self, host):
        host.guard(host.look()["boot"])
        host.fence(3)
        host.power_cycle()
        host.unfence(7)
        assert host.may_start
        host.power_cycle()
        assert not host.may_start

    def test_an_unfence_guards_nothing_that_nobody_guarded(self, host):
        host.fence(3)
        host.unfence(7)
        host.power_cycle()
        assert host.may_start

    def test_guards_are_taken_away(self, host):
        host.guard(host.look()["boot"])
        host.power_cycle()
        host.unguard()
        assert host.may_start
        assert not host.look()["guarded"]

    def test_nothing_is_recovered_where_no_fence_stands(self, host):
        host.guard(host.look()["boot"])
        host.power_cycle()
        with pytest.raises(Refused, match="no fence"):
            host.recover(5)
        assert not host.may_start

    def test_a_recovery_that_comes_late_is_not_obeyed(self, host):
        host.fence(3)
        host.unfence(5)
        host.fence(7)
        with pytest.raises(Refused):
            host.recover(5)

    def test_what_is_recovered_stays_fenced_and_by_the_newer_order(self, host):
        host.fence(3)
        host.recover(7)
        assert not host.may_start
        with pytest.raises(Refused):
            host.unfence(5)
        host.unfence(9)
        assert host.may_start
