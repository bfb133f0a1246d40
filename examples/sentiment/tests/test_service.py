"""Tests of this project: `pytest` runs them, and so does `serinus check`, against the image."""


def test_a_list_is_answered_in_its_order(service):
    glad, bad = service(["A great success", "The worst of all"])
    assert (glad["positive"], bad["positive"]) == (True, False)


def test_an_empty_list_is_refused_with_a_reason(client):
    answer = client.post("/predict", json=[])
    assert answer.status_code == 422
    assert "expected" in answer.json()["errors"][0]["detail"]


def test_the_examples_are_about_texts(examples, contract):
    assert contract.request["type"] == "array"
    assert all(isinstance(text, str) for example in examples for text in example.request)
