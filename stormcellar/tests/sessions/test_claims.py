# SPDX-License-Identifier: MIT
"""Session claims: what each validator says, when a claim is fetched again, and how payloads are merged."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from stormcellar.sessions.claims import (
    PROTECTED_CLAIMS,
    BooleanClaim,
    ClaimValidator,
    EmailVerificationClaim,
    PermissionClaim,
    PrimitiveArrayClaim,
    PrimitiveClaim,
    SessionClaim,
    UserRoleClaim,
    ValidationResult,
    merge_payload,
    strip_protected,
    validate_claims,
)

NOW_MS = 1_767_222_000_000


def nothing(user_id, tenant_id, payload):
    return None


def entry(value, age_ms=0):
    return {"v": value, "t": NOW_MS - age_ms}


def outcome_of(validators, payload, now_ms=NOW_MS):
    return asyncio.run(
        validate_claims(validators, payload, user_id="user", tenant_id="public", now_ms=now_ms)
    )


class Fetch:
    """A fetch_value that counts its calls and answers what it was told to."""

    def __init__(self, value):
        self.value = value
        self.calls = []

    def __call__(self, user_id, tenant_id, payload):
        self.calls.append((user_id, tenant_id, dict(payload)))
        return self.value


plan = PrimitiveClaim[str]("plan", nothing)
member = BooleanClaim("member", nothing)
tags = PrimitiveArrayClaim[str]("tags", nothing)
email = EmailVerificationClaim(nothing)
roles = UserRoleClaim(nothing)
permissions = PermissionClaim(nothing)


@dataclass
class Rule:
    """One row of the table: a validator, a value it accepts, one it refuses, and what it says then."""

    claim: SessionClaim[Any]
    validator: Any  # makes the validator from keyword arguments
    good: Any
    bad: Any
    said_if_missing: dict[str, Any]
    said_if_wrong: dict[str, Any]


def rule(claim, method, *arguments, good, bad, said, said_if_missing=None):
    def validator(**options):
        return getattr(claim, method)(*arguments, **options)

    return pytest.param(
        Rule(claim, validator, good, bad, said_if_missing or said, said), id=f"{claim.key}-{method}"
    )


RULES = [
    rule(plan, "has_value", "gold", good="gold", bad="tin", said={"expectedValue": "gold"}),
    rule(member, "has_value", False, good=False, bad=True, said={"expectedValue": False}),
    rule(member, "is_true", good=True, bad=False, said={"expectedValue": True}),
    rule(member, "is_false", good=False, bad=True, said={"expectedValue": False}),
    rule(tags, "includes", "a", good=["a", "b"], bad=["b"], said={"expectedToInclude": "a"}),
    rule(tags, "excludes", "a", good=["b"], bad=["a", "b"], said={"expectedToNotInclude": "a"}),
    rule(
        tags,
        "includes_all",
        ["a", "b"],
        good=["c", "b", "a"],
        bad=["a", "c"],
        said={"expectedToInclude": ["a", "b"]},
    ),
    rule(
        tags,
        "excludes_all",
        ["a", "b"],
        good=["c"],
        bad=["b", "c"],
        said={"expectedToNotInclude": ["a", "b"]},
    ),
    rule(
        tags,
        "includes_any",
        ["a", "b"],
        good=["b", "c"],
        bad=["c"],
        said={"expectedToIncludeAtLeastOneOf": ["a", "b"]},
        said_if_missing={"expectedToInclude": ["a", "b"]},
    ),
    rule(email, "is_verified", good=True, bad=False, said={"expectedValue": True}),
    rule(roles, "includes", "admin", good=["admin"], bad=[], said={"expectedToInclude": "admin"}),
    rule(permissions, "excludes", "erase", good=[], bad=["erase"], said={"expectedToNotInclude": "erase"}),
]


def judged(validator, payload):
    """What the validator found, the reason as the browser would read it."""
    result = validator.validate(payload, NOW_MS)
    return result.valid, json.loads(json.dumps(result.reason))


@pytest.mark.parametrize("rule", RULES)
class TestEveryValidator:
    def test_accepts_a_fitting_value(self, rule):
        payload = {rule.claim.key: entry(rule.good, age_ms=10**9)}
        assert judged(rule.validator(), payload) == (True, None)

    def test_accepts_a_fitting_value_of_exactly_the_maximum_age(self, rule):
        payload = {rule.claim.key: entry(rule.good, age_ms=60_000)}
        assert judged(rule.validator(max_age_s=60), payload) == (True, None)

    @pytest.mark.parametrize("found", [{}, {"v": None, "t": NOW_MS}, None, "x", {"t": NOW_MS}])
    def test_says_that_a_missing_value_does_not_exist_and_leaves_out_the_actual_value(self, rule, found):
        reason = {"message": "value does not exist", **rule.said_if_missing}
        assert judged(rule.validator(), {rule.claim.key: found}) == (False, reason)
        assert judged(rule.validator(max_age_s=60), {}) == (False, reason)

    def test_says_expired_with_both_ages_in_seconds_before_it_looks_at_the_value(self, rule):
        reason = {"message": "expired", "ageInSeconds": 60.001, "maxAgeInSeconds": 60}
        for value in (rule.good, rule.bad):
            payload = {rule.claim.key: entry(value, age_ms=60_001)}
            assert judged(rule.validator(max_age_s=60), payload) == (False, reason)

    def test_says_what_it_expected_and_what_it_found_in_a_wrong_value(self, rule):
        reason = {"message": "wrong value", **rule.said_if_wrong, "actualValue": rule.bad}
        assert judged(rule.validator(max_age_s=60), {rule.claim.key: entry(rule.bad)}) == (False, reason)

    def test_is_named_after_its_claim_and_belongs_to_it(self, rule):
        assert rule.validator().id == rule.claim.key
        assert rule.validator().claim is rule.claim

    def test_asks_for_a_refetch_if_the_value_is_missing_or_older_than_the_maximum_age(self, rule):
        def asks(max_age_s, payload):
            return rule.validator(max_age_s=max_age_s).should_refetch(payload, NOW_MS)

        def aged(age_ms):
            return {rule.claim.key: entry(rule.good, age_ms)}

        assert asks(None, {})
        assert asks(60, {})
        assert not asks(None, aged(10**12))
        assert not asks(60, aged(60_000))
        assert asks(60, aged(60_001))


def test_a_validator_takes_the_name_it_is_given():
    assert plan.has_value("gold", id="gold-only").id == "gold-only"
    assert tags.includes_any(["a"], id="some").id == "some"
    assert member.is_true(id="members").id == "members"


def test_the_keys_are_those_that_the_clients_look_for():
    assert [claim.key for claim in (email, roles, permissions)] == ["st-ev", "st-role", "st-perm"]


def test_true_is_not_one():
    """JSON and every other backend tell true from 1; Python's == does not."""
    assert not member.is_true().validate({"member": entry(1)}, NOW_MS).valid
    assert not member.is_false().validate({"member": entry(0)}, NOW_MS).valid
    flags = PrimitiveArrayClaim[int]("flags", nothing)
    assert not flags.includes(1).validate({"flags": entry([True])}, NOW_MS).valid
    assert flags.includes(1).validate({"flags": entry([2, 1.0])}, NOW_MS).valid


def test_a_list_claim_does_not_look_for_roles_inside_a_string():
    payload = {"st-role": entry("administrator")}
    assert roles.includes("admin").validate(payload, NOW_MS).reason["message"] == "value does not exist"
    assert not roles.excludes("root").validate(payload, NOW_MS).valid


@pytest.mark.parametrize("method", ["includes_all", "includes_any", "excludes_all"])
def test_a_string_in_place_of_a_list_of_values_is_refused(method):
    """Its letters would be taken for the values, and excludes_all("banned") would accept the banned."""
    with pytest.raises(TypeError, match="'banned'"):
        getattr(roles, method)("banned")


@pytest.mark.parametrize("t", [None, "yesterday", 1.5])
def test_a_value_without_a_time_is_too_old_for_any_maximum_age(t):
    payload = {"plan": {"v": "gold", "t": t}}
    assert plan.get_last_refetch_ms(payload) is None
    assert plan.has_value("gold").validate(payload, NOW_MS).valid
    strict = plan.has_value("gold", max_age_s=3600)
    assert strict.should_refetch(payload, NOW_MS)
    assert strict.validate(payload, NOW_MS).reason["message"] == "expired"


class TestEmailVerification:
    @pytest.mark.parametrize(
        ("verified", "age_ms", "asks"),
        [
            (False, 10_000, False),
            (False, 10_001, True),
            ("yes", 10_001, True),
            (True, 10_001, False),
            (True, 10**12, False),
        ],
    )
    def test_unverified_is_believed_for_ten_seconds(self, verified, age_ms, asks):
        """The address may have been verified on another device. Whatever is not true counts as unverified."""
        payload = {"st-ev": entry(verified, age_ms)}
        assert email.is_verified().should_refetch(payload, NOW_MS) is asks

    def test_the_ten_seconds_can_be_changed(self):
        payload = {"st-ev": entry(False, age_ms=1_000)}
        assert not email.is_verified(1).should_refetch(payload, NOW_MS)
        assert email.is_verified(refetch_time_on_false_s=0.5).should_refetch(payload, NOW_MS)

    def test_a_maximum_age_holds_for_verified_too(self):
        payload = {"st-ev": entry(True, age_ms=60_001)}
        assert email.is_verified(max_age_s=60).should_refetch(payload, NOW_MS)

    def test_what_was_verified_meanwhile_lets_the_session_pass(self):
        claim = EmailVerificationClaim(Fetch(True))
        result = outcome_of([claim.is_verified()], {"st-ev": entry(False, age_ms=11_000)})
        assert result == ({"st-ev": entry(True)}, [])


class TestClaims:
    def test_a_claim_lies_at_the_root_with_its_value_and_the_time_in_milliseconds(self):
        payload = plan.add_to_payload({"iss": "x"}, "gold", NOW_MS)
        assert payload == {"iss": "x", "plan": {"v": "gold", "t": NOW_MS}}
        assert plan.get_value(payload) == "gold"
        assert plan.get_last_refetch_ms(payload) == NOW_MS

    def test_adding_leaves_the_payload_it_was_given_alone(self):
        payload = {}
        plan.add_to_payload(payload, "gold", NOW_MS)
        assert payload == {}

    def test_false_and_an_empty_list_are_values(self):
        assert member.get_value(member.add_to_payload({}, False, NOW_MS)) is False
        assert tags.get_value(tags.add_to_payload({}, [], NOW_MS)) == []

    def test_a_list_claim_stores_any_collection_as_a_list(self):
        assert tags.get_value(tags.add_to_payload({}, ("a", "b"), NOW_MS)) == ["a", "b"]

    def test_removing_is_an_update_with_none(self):
        payload = plan.add_to_payload({"iss": "x"}, "gold", NOW_MS)
        assert plan.remove_from_payload() == {"plan": None}
        assert merge_payload(payload, plan.remove_from_payload()) == {"iss": "x"}

    def test_an_absent_claim_has_neither_value_nor_time(self):
        assert plan.get_value({}) is None
        assert plan.get_last_refetch_ms({}) is None

    @pytest.mark.parametrize("name", sorted(PROTECTED_CLAIMS))
    def test_a_claim_cannot_take_a_name_of_the_engine(self, name):
        with pytest.raises(ValueError, match=name):
            PrimitiveClaim(name, nothing)

    def test_the_value_may_be_fetched_by_a_plain_function_or_a_coroutine(self):
        async def later(user_id, tenant_id, payload):
            await asyncio.sleep(0)
            return f"{user_id} at {tenant_id} of {payload['iss']}"

        def at_once(user_id, tenant_id, payload):
            return f"{user_id} at {tenant_id} of {payload['iss']}"

        for fetch in (later, at_once):
            built = asyncio.run(PrimitiveClaim("who", fetch).build("u", "public", {"iss": "x"}, NOW_MS))
            assert built == {"who": {"v": "u at public of x", "t": NOW_MS}}

    def test_a_fetch_that_finds_nothing_builds_nothing(self):
        async def nothing_later(user_id, tenant_id, payload):
            return None

        for fetch in (nothing, nothing_later):
            assert asyncio.run(PrimitiveClaim("who", fetch).build("u", "public", {}, NOW_MS)) == {}


class TestValidatingASession:
    def test_without_validators_every_session_passes(self):
        assert outcome_of([], {"st-ev": entry(False)}) == ({}, [])

    def test_a_missing_claim_is_fetched_with_the_sessions_user_tenant_and_payload(self):
        fetch = Fetch(["admin"])
        result = outcome_of([UserRoleClaim(fetch).includes("admin")], {"iss": "x"})
        assert fetch.calls == [("user", "public", {"iss": "x"})]
        assert result == ({"st-role": entry(["admin"])}, [])

    def test_a_fresh_claim_is_not_fetched(self):
        fetch = Fetch(["admin"])
        update, _ = outcome_of(
            [UserRoleClaim(fetch).includes("admin", 60)], {"st-role": entry(["user"], 60_000)}
        )
        assert fetch.calls == []
        assert update == {}

    def test_what_was_fetched_must_be_stored_even_if_it_is_refused(self):
        update, errors = outcome_of([UserRoleClaim(Fetch(["user"])).includes("admin")], {})
        assert update == {"st-role": entry(["user"])}
        reason = {"message": "wrong value", "expectedToInclude": "admin", "actualValue": ["user"]}
        assert errors == [{"id": "st-role", "reason": reason}]

    def test_a_fetch_that_finds_nothing_leaves_the_payload_and_the_validator_refuses(self):
        result = outcome_of([plan.has_value("gold")], {})
        reason = {"message": "value does not exist", "expectedValue": "gold"}
        assert result == ({}, [{"id": "plan", "reason": reason}])

    def test_a_fetch_that_finds_nothing_does_not_make_an_old_value_young(self):
        update, errors = outcome_of([plan.has_value("gold", max_age_s=60)], {"plan": entry("gold", 61_000)})
        assert update == {}
        assert errors[0]["reason"] == {"message": "expired", "ageInSeconds": 61, "maxAgeInSeconds": 60}

    @pytest.mark.parametrize("value", [["admin"], None])
    def test_several_validators_of_one_claim_fetch_it_once(self, value):
        fetch = Fetch(value)
        claim = UserRoleClaim(fetch)
        outcome_of([claim.includes("admin"), claim.excludes("guest"), claim.includes_any(["admin"])], {})
        assert len(fetch.calls) == 1

    def test_every_validator_speaks_and_in_their_order(self):
        refusing = [plan.has_value("gold"), email.is_verified(), roles.includes("admin")]
        accepting = member.is_true()
        _, errors = outcome_of([*refusing[:2], accepting, refusing[2]], {"member": entry(True)})
        assert [error["id"] for error in errors] == ["plan", "st-ev", "st-role"]

    def test_a_validator_sees_what_a_later_one_had_fetched(self):
        """All fetching comes before all judging."""
        seen = []

        def look(payload, now_ms):
            seen.append(payload)
            return ValidationResult(True)

        outcome_of([ClaimValidator("look", look), UserRoleClaim(Fetch(["admin"])).includes("admin")], {})
        assert seen == [{"st-role": entry(["admin"])}]

    def test_a_claim_is_fetched_with_what_earlier_ones_found(self):
        permissions = Fetch(["erase"])
        outcome_of(
            [
                UserRoleClaim(Fetch(["admin"])).includes("admin"),
                PermissionClaim(permissions).includes("erase"),
            ],
            {},
        )
        assert permissions.calls == [("user", "public", {"st-role": entry(["admin"])})]

    def test_the_payload_it_was_given_stays_as_it_was(self):
        payload = {"iss": "x", "st-role": entry(["user"], 61_000)}
        before = json.dumps(payload)
        outcome_of([UserRoleClaim(Fetch(["admin"])).includes("admin", max_age_s=60)], payload)
        assert json.dumps(payload) == before

    def test_a_fetch_that_found_the_same_at_the_same_time_is_no_change(self):
        class AlwaysAsking(PrimitiveClaim[str]):
            def asks(self):
                return ClaimValidator(
                    "asks", lambda payload, now_ms: ValidationResult(True), self, lambda payload, now_ms: True
                )

        asking = AlwaysAsking("plan", Fetch("gold"))
        assert outcome_of([asking.asks()], {"plan": entry("gold")}) == ({}, [])

    def test_a_claim_with_a_layout_of_its_own_can_change_several_names(self):
        class Steps(SessionClaim[list[str]]):
            def add_to_payload(self, payload, value, now_ms):
                return {**payload, "steps": {"done": value}, "old-steps": None}

            def get_value(self, payload):
                return payload.get("steps", {}).get("done")

        steps = Steps("steps", Fetch(["password"]))
        two = ClaimValidator(
            "two",
            lambda p, now_ms: ValidationResult(len(steps.get_value(p)) > 1, 2),
            steps,
            lambda p, now_ms: True,
        )
        update, errors = outcome_of([two], {"old-steps": 1})
        assert update == {"steps": {"done": ["password"]}, "old-steps": None}
        assert errors == [{"id": "two", "reason": 2}]

    def test_a_claim_that_sets_a_name_of_the_engine_is_refused(self):
        class Sneaky(PrimitiveClaim[str]):
            def add_to_payload(self, payload, value, now_ms):
                return {**payload, "sub": value}

        with pytest.raises(ValueError, match="sub"):
            outcome_of([Sneaky("sneaky", Fetch("someone else")).has_value("x")], {})

    def test_a_fetch_that_fails_is_not_taken_for_a_missing_claim(self):
        def broken(user_id, tenant_id, payload):
            raise ConnectionError("no answer")

        with pytest.raises(ConnectionError):
            outcome_of([UserRoleClaim(broken).excludes("banned")], {})


class TestAValidatorOfOnesOwn:
    def test_is_a_plain_function_with_a_name(self):
        def adult(payload, now_ms):
            return ValidationResult(payload.get("age", 0) >= 18, "adults only")

        adults_only = ClaimValidator("adult", adult)
        assert outcome_of([adults_only], {"age": 18}) == ({}, [])
        _, errors = outcome_of([adults_only], {"age": 17})
        assert errors == [{"id": "adult", "reason": "adults only"}]

    def test_may_refuse_without_a_reason(self):
        never = ClaimValidator("never", lambda payload, now_ms: ValidationResult(False))
        assert outcome_of([never], {}) == ({}, [{"id": "never"}])

    @pytest.mark.parametrize("reason", [False, 0, "", [], {}])
    def test_may_give_any_json_as_its_reason(self, reason):
        odd = ClaimValidator("odd", lambda payload, now_ms: ValidationResult(False, reason))
        assert outcome_of([odd], {}) == ({}, [{"id": "odd", "reason": reason}])

    def test_sees_the_payload_and_the_time(self):
        def in_time(payload, now_ms):
            return ValidationResult(now_ms < payload["until"])

        trial = ClaimValidator("trial", in_time)
        assert outcome_of([trial], {"until": NOW_MS + 1}) == ({}, [])
        assert outcome_of([trial], {"until": NOW_MS + 1}, now_ms=NOW_MS + 1) == ({}, [{"id": "trial"}])


class TestPayloads:
    def test_merging_is_shallow(self):
        merged = merge_payload({"a": {"x": 1}, "b": 1}, {"a": {"y": 2}, "c": 3})
        assert merged == {"a": {"y": 2}, "b": 1, "c": 3}

    def test_none_deletes_a_name_and_deleting_an_absent_one_is_no_error(self):
        assert merge_payload({"a": 1, "b": 2}, {"a": None, "z": None}) == {"b": 2}

    def test_none_deeper_in_the_update_or_already_in_the_payload_stays(self):
        assert merge_payload({"a": None}, {"b": {"c": None}}) == {"a": None, "b": {"c": None}}

    def test_merging_leaves_both_sides_alone(self):
        payload, update = {"a": 1}, {"a": None, "b": 2}
        merge_payload(payload, update)
        assert (payload, update) == ({"a": 1}, {"a": None, "b": 2})

    @pytest.mark.parametrize("name", sorted(PROTECTED_CLAIMS))
    def test_no_update_can_set_or_remove_a_name_of_the_engine(self, name):
        with pytest.raises(ValueError, match=name):
            merge_payload({}, {"mine": 1, name: "x"})
        assert merge_payload({name: "x"}, {"mine": 1, name: None}) == {name: "x", "mine": 1}

    def test_the_error_names_all_offenders_and_only_them(self):
        with pytest.raises(ValueError, match=r"engine: exp, sub$"):
            merge_payload({}, {"sub": "x", "mine": 1, "exp": 0})

    def test_a_whole_payload_can_be_updated(self):
        """What the token holds already is not the update's fault."""
        assert merge_payload({"sub": "u", "a": 1}, {"a": 2}) == {"sub": "u", "a": 2}

    def test_stripping_leaves_the_applications_own_names(self):
        payload = dict.fromkeys(PROTECTED_CLAIMS, "x")
        assert strip_protected({**payload, "st-ev": entry(True)}) == {"st-ev": entry(True)}
        assert strip_protected({}) == {}

    def test_these_names_belong_to_the_engine(self):
        """Those of SuperTokens' tokens, the issuer, the start of validity, and the engine's own three."""
        assert {
            *("sub", "rsub", "tId", "iat", "exp", "stt", "sessionHandle", "antiCsrfToken"),
            *("refreshTokenHash1", "parentRefreshTokenHash1", "iss", "nbf", "sc-gen", "sc-br", "sc-ver"),
        } == PROTECTED_CLAIMS
