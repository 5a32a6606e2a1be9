"""Feedback over HTTP: one by one, by the file, and the accuracy that follows."""

from typing import Any
from uuid import uuid4

import pytest

from schemas.enums import Scope
from schemas.feedback import AccuracySchema, BulkFeedbackSchema, FeedbackSchema
from tests.integration.serving import Api
from tests.integration.webapp.conftest import NO_WAIT, ApiFor
from tests.integration.webapp.problems import assert_problem

NDJSON = "application/x-ndjson"

Body = dict[str, Any]


def path(prediction_id: str) -> str:
    return f"/v1/predictions/{prediction_id}/feedback"


def put(api: Api, prediction_id: str, **body: Any) -> Any:
    return api.call("PUT", path(prediction_id), json=body)


def answered(api: Api, **options: Any) -> str:
    return str(api.predict_xor(**options).get_json()["id"])


def test_a_word_is_answered_as_it_stands(api: Api) -> None:
    prediction_id = answered(api)

    body = put(api, prediction_id, label="0", source="desk", weight=2).get_json()

    assert FeedbackSchema().validate(body) == {}
    assert (body["prediction"], body["model"], body["version"]) == (prediction_id, "xor", 1)
    assert (body["label"], body["is_correct"], body["source"], body["weight"]) == ("0", False, "desk", 2.0)
    assert (body["revision"], body["history"]) == (1, [])


def test_a_repeat_changes_nothing(api: Api) -> None:
    prediction_id = answered(api)

    assert put(api, prediction_id, label="1").get_json() == put(api, prediction_id, label="1").get_json()


def test_another_word_keeps_the_first(api: Api) -> None:
    prediction_id = answered(api)
    put(api, prediction_id, label="0")
    put(api, prediction_id, label="1")

    body = api.get(path(prediction_id)).get_json()

    assert (body["label"], body["is_correct"], body["revision"]) == ("1", True, 2)
    assert [(each["revision"], each["label"], each["is_correct"]) for each in body["history"]] == [(1, "0", False)]


def test_a_prediction_that_is_read_shows_its_feedback(api: Api) -> None:
    corrected, other = answered(api), answered(api)
    put(api, corrected, label="1")

    one, none = (api.get(f"/v1/predictions/{each}").get_json()["feedback"] for each in (corrected, other))

    assert ((one["label"], one["is_correct"], one["revision"]), none) == (("1", True, 1), None)


def test_a_list_of_predictions_shows_their_feedback(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT, Scope.READ, Scope.FEEDBACK)
    put(api, answered(api), label="1")

    [entry] = api.get("/v1/predictions").get_json()["data"]

    assert entry["feedback"]["label"] == "1"


@pytest.mark.parametrize(
    ("body", "slug", "field"),
    [
        ({"label": "sock"}, "invalid-label", "label"),
        ({"label": 1}, "invalid-label", "label"),
        ({}, "invalid-request", "label"),
        ({"label": None}, "invalid-request", "label"),
        ({"label": "1", "weight": 0}, "invalid-request", "weight"),
        ({"label": "1", "weight": "NaN"}, "invalid-request", "weight"),
        ({"label": "1", "source": ""}, "invalid-request", "source"),
        ({"label": "1", "lable": "1"}, "invalid-request", "lable"),
    ],
)
def test_a_bad_word_is_refused_and_changes_nothing(api: Api, body: Body, slug: str, field: str) -> None:
    prediction_id = answered(api)

    assert_problem(put(api, prediction_id, **body), 422, slug, field)
    assert_problem(api.get(path(prediction_id)), 404, "unknown-feedback")


def test_a_body_that_is_no_json_is_refused(api: Api) -> None:
    response = api.call("PUT", path(answered(api)), data="{", content_type="application/json")

    assert_problem(response, 400, "malformed-request")


def test_an_unknown_prediction_is_unknown(api: Api) -> None:
    assert_problem(put(api, str(uuid4()), label="1"), 404, "unknown-prediction")
    assert_problem(api.get(path(str(uuid4()))), 404, "unknown-prediction")


def test_another_tenants_prediction_is_unknown(api_for: ApiFor) -> None:
    scopes = Scope.PREDICT, Scope.READ, Scope.FEEDBACK
    mine, theirs = api_for(*scopes), api_for(*scopes)
    prediction_id = answered(theirs)
    put(theirs, prediction_id, label="1")

    assert_problem(put(mine, prediction_id, label="0"), 404, "unknown-prediction")
    assert_problem(mine.get(path(prediction_id)), 404, "unknown-prediction")
    assert theirs.get(path(prediction_id)).get_json()["revision"] == 1


def test_a_key_needs_the_scope(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)

    assert_problem(put(api, answered(api), label="1"), 403, "scope-too-small")
    assert_problem(api.post("/v1/models/xor/feedback", data="", content_type=NDJSON), 403, "scope-too-small")


def test_a_prediction_that_waits_cannot_be_corrected(api: Api, no_worker: None) -> None:  # noqa: ARG001 - none answers
    prediction_id = answered(api, headers=NO_WAIT)

    assert_problem(put(api, prediction_id, label="1"), 409, "prediction-state")


def send(api: Api, body: str, content_type: str = NDJSON, model: str = "xor") -> Any:
    return api.post(f"/v1/models/{model}/feedback", data=body.encode(), content_type=content_type)


def test_a_file_of_ndjson_is_stored_by_the_line(api: Api) -> None:
    ids = [answered(api) for _ in range(3)]

    body = send(api, "".join(f'{{"prediction": "{each}", "label": "1"}}\n' for each in ids)).get_json()

    assert BulkFeedbackSchema().validate(body) == {}
    assert body == {"rows": 3, "created": 3, "revised": 0, "repeated": 0, "refused": 0, "errors": []}


def test_a_table_is_stored_by_the_row(api: Api) -> None:
    item = {"catalog": "shop", "external_id": "csv"}
    prediction_id = answered(api, query_string=item)

    body = send(api, "catalog,external_id,label\nshop,csv,1\n", "text/csv; charset=utf-8").get_json()

    assert (body["rows"], body["created"]) == (1, 1)
    assert api.get(path(prediction_id)).get_json()["label"] == "1"


def test_good_lines_are_stored_and_bad_ones_named(api: Api) -> None:
    good = answered(api)
    lines = [
        "{",
        f'{{"prediction": "{uuid4()}", "label": "1"}}',
        f'{{"prediction": "{good}", "label": "1"}}',
        "",
        f'{{"prediction": "{good}", "label": "sock"}}',
    ]

    body = send(api, "\n".join(lines)).get_json()

    assert (body["rows"], body["created"], body["refused"]) == (4, 1, 3)
    assert [(each["line"], each["type"]) for each in body["errors"]] == [
        (1, "malformed-body"),
        (2, "unknown-prediction"),
        (5, "invalid-label"),
    ]


def test_a_file_that_is_sent_again_changes_nothing(api: Api) -> None:
    file = f'{{"prediction": "{answered(api)}", "label": "1"}}\n'
    send(api, file)

    assert send(api, file).get_json()["repeated"] == 1


def test_a_file_of_more_than_a_group_is_stored_whole(api: Api) -> None:
    prediction_id = answered(api)
    line = f'{{"prediction": "{prediction_id}", "label": "%d"}}\n'

    body = send(api, "".join(line % (number // 1500) for number in range(3000))).get_json()

    # The first group ends with 0, the second with 1, the third repeats it.
    assert (body["rows"], body["created"], body["revised"], body["repeated"]) == (3000, 1, 1, 2998)


def test_another_tenants_lines_are_refused(api_for: ApiFor) -> None:
    mine, theirs = api_for(Scope.FEEDBACK), api_for(Scope.PREDICT)
    file = f'{{"prediction": "{answered(theirs)}", "label": "1"}}\n'

    [error] = send(mine, file).get_json()["errors"]

    assert (error["line"], error["type"]) == (1, "unknown-prediction")


def test_a_file_in_another_format_is_refused(api: Api) -> None:
    assert_problem(send(api, "[]", "application/json"), 415, "unsupported-media-type")


def test_a_table_with_other_columns_is_refused(api: Api) -> None:
    assert_problem(send(api, "id,label\n1,1\n", "text/csv"), 400, "malformed-body")


def test_a_file_for_an_unknown_model_is_refused(api: Api) -> None:
    assert_problem(send(api, "", model="nope"), 404, "unknown-model")


def test_accuracy_follows_from_feedback(api: Api) -> None:
    before = accuracy(api)
    for label in ("1", "1", "1", "0"):
        put(api, answered(api), label=label)

    after = accuracy(api)

    assert (after["feedback"] - before["feedback"], after["correct"] - before["correct"]) == (4, 3)
    assert after["accuracy"] == after["correct"] / after["feedback"]
    assert after["accuracy_interval"][0] < after["accuracy"] < after["accuracy_interval"][1]


def accuracy(api: Api) -> Body:
    body = api.get("/v1/models/xor/accuracy", query_string={"window_s": 600}).get_json()
    assert AccuracySchema().validate(body) == {}
    nothing: Body = {"feedback": 0, "correct": 0}
    return next((each for each in body["versions"] if each["version"] == 1), nothing)


def test_accuracy_is_told_by_the_part_of_the_window(api: Api) -> None:
    put(api, answered(api), label="1")

    body = api.get("/v1/models/xor/accuracy", query_string={"window_s": 3600, "steps": 60}).get_json()

    series = body["versions"][0]["series"]
    assert sum(each["feedback"] for each in series) == body["versions"][0]["feedback"]
    assert [each["since"] for each in series] == sorted(each["since"] for each in series)


@pytest.mark.parametrize("query", [{"window_s": 0}, {"window_s": 10**9}, {"steps": 0}, {"steps": 501}])
def test_a_bad_window_is_refused(api: Api, query: Body) -> None:
    assert_problem(api.get("/v1/models/xor/accuracy", query_string=query), 422, "invalid-request", *query)
